"""Reasoning of another provider in a request that needs no translation.

A conversation may move from one model to another, by routing or failover. What the first one thought then comes back in
the client's dialect, with a signature of somebody else or none; a provider that verifies signatures refuses the whole
request for it. Translators leave such reasoning out (each for its own dialect); this does it where client and upstream
speak the same dialect and the body would pass as it is.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plano.dialects.conversation import Dropped

Json = dict[str, Any]

# What we render for clients of the messages dialect from others: their signatures are tagged (`gemini:...`), which
# base64 cannot be, and OpenAI's are Fernet tokens.
_FOREIGN_SIGNATURE: Final = re.compile(r"gAAAA|[^:]*:")
# The ids we give to reasoning items of the responses dialect.
_OUR_ITEM: Final = re.compile(r"rs_.+_\d+|rs_redacted_.*|rs_for_.*")


def leave_out_foreign(dialect: str, data: bytes | None, body: Json, dropped: Dropped, *, signed: bool) -> Json:
    """The body without other providers' reasoning: `body` itself, whose bytes are `data` (None: not at hand), where it
    holds none.

    `signed`: the upstream refuses thinking without a signature (Anthropic does; others of its dialect sign nothing).
    Never raises: what is malformed is left to the upstream.
    """
    if dialect == "messages" and (data is None or b'thinking"' in data):
        return _filter_messages(body, dropped, signed)
    if dialect == "responses" and (data is None or b'"reasoning"' in data):
        return _filter_items(body, dropped)
    return body


def _filter_messages(body: Json, dropped: Dropped, signed: bool) -> Json:
    turns = body.get("messages")
    if type(turns) is not list:
        return body
    kept: list[Any] = []
    changed = False
    for turn in turns:
        content = turn.get("content") if type(turn) is dict else None
        if type(content) is list:
            blocks = [block for block in content if not _is_foreign_block(block, signed)]
            if len(blocks) != len(content):
                changed = True
                if not blocks:  # the API refuses turns without content; those around it may follow each other
                    continue
                turn = {**turn, "content": blocks}
        kept.append(turn)
    if not changed or not kept:
        return body
    dropped.add("thinking")
    return {**body, "messages": kept}


def _is_foreign_block(block: Any, signed: bool) -> bool:
    kind = block.get("type") if type(block) is dict else None
    if kind == "thinking":
        signature = block.get("signature")
    elif kind == "redacted_thinking":
        signature = block.get("data")
    else:
        return False
    if type(signature) is not str or not signature:
        return signed
    return _FOREIGN_SIGNATURE.match(signature) is not None


def _filter_items(body: Json, dropped: Dropped) -> Json:
    items = body.get("input")
    if type(items) is not list:
        return body
    kept = [item for item in items if not _is_foreign_item(item)]
    if len(kept) == len(items) or not kept:
        return body
    dropped.add("thinking")
    return {**body, "input": kept}


def _is_foreign_item(item: Any) -> bool:
    if type(item) is not dict or item.get("type") != "reasoning":
        return False
    name, encrypted = item.get("id"), item.get("encrypted_content")
    if type(encrypted) is str and encrypted.startswith("gAAAA"):
        return False
    return (type(name) is str and _OUR_ITEM.fullmatch(name) is not None) or (
        type(encrypted) is str and ":" in encrypted
    )
