"""Annotations of the chat dialect, to citations in Anthropic's form and back.

Source: OpenAI API reference, ChatCompletionResponseMessage.annotations (`url_citation`: url, title, start_index,
end_index in the message); Anthropic, "Web search tool" (`web_search_result_location`: url, title, cited_text,
encrypted_index). An annotation says where in the answer, a citation what in the source: each lacks the other's part, so
the places of an annotation stay in its citation as two more fields.
"""

from __future__ import annotations

from typing import Any

from plano.dialects.chat.prompt import end_of, separator
from plano.dialects.conversation import Block, Json, Text


def parse_annotations(annotations: Any) -> list[Json]:
    """The citations in the annotations of a message or a delta; those without a URL are not understood."""
    citations: list[Json] = []
    if type(annotations) is not list:
        return citations
    for annotation in annotations:
        inner = annotation.get("url_citation") if type(annotation) is dict else None
        url = inner.get("url") if type(inner) is dict else None
        if type(url) is not str or type(inner) is not dict:
            continue
        title, start, end = inner.get("title"), inner.get("start_index"), inner.get("end_index")
        citation: Json = {
            "type": "web_search_result_location",
            "url": url,
            "title": title if type(title) is str else None,
            "cited_text": "",
            "encrypted_index": "",
        }
        if type(start) is int and type(end) is int:
            citation["start_index"] = start
            citation["end_index"] = end
        citations.append(citation)
    return citations


def render_annotations(blocks: list[Block]) -> list[Json]:
    """The annotations of an assistant's message whose content is the joined text of `blocks`."""
    annotations: list[Json] = []
    length = 0
    tail = ""
    apart = False
    for block in blocks:
        if not isinstance(block, Text):
            apart = True
        elif block.text:
            length += len(separator(tail, block.text, apart))
            start = length
            length += len(block.text)
            tail = end_of(tail + block.text)
            apart = False
            for citation in block.citations:
                annotation = render_annotation(citation, start, length)
                if annotation is not None:
                    annotations.append(annotation)
    return annotations


def render_annotation(citation: Json, start: int, end: int) -> Json | None:
    """The annotation for one citation of the text from `start` to `end` of a message. None when it cites something
    that has no URL: a place in a document of the request."""
    url = citation.get("url") or citation.get("source")
    if type(url) is not str or "://" not in url:
        return None
    title, own_start, own_end = citation.get("title"), citation.get("start_index"), citation.get("end_index")
    if type(own_start) is int and type(own_end) is int:
        start, end = own_start, own_end
    inner = {"start_index": start, "end_index": end, "url": url, "title": title if type(title) is str else ""}
    return {"type": "url_citation", "url_citation": inner}
