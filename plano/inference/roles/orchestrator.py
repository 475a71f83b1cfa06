"""The orchestrator: its prompt, the grammar of its answer, and how the answer is read.

The layout of the prompt is the one Plano-Orchestrator was trained on (routes first, one JSON object per line with
spaces after `:` and `,`; then the conversation as JSON with four spaces; then instructions and the form of the answer).
Routes stand in the order of the config, so that a prefix cache holds them. Everything a user or a config has written is
inside JSON strings in which our own tags cannot occur.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from plano.inference.calls import BadCall, OrchestratorCall, Route, Turn
from plano.inference.roles.model_json import BadModelAnswer, read_object
from plano.inference.roles.turns import ELLIPSIS, size_of, trim_middle

Json = dict[str, Any]
CountTokens = Callable[[str], int]

PREFILL: Final = '{"route":'
"""What every answer begins with. The grammar goes on from here, with the space: a model's tokens for ` ["` and ` []`
stay whole, so that "one of these" and "none" are weighed as they were in training."""

MAX_CHOSEN: Final = 16
ANSWER_TOKENS: Final = 96  # kept free in the context for the answer
_MAX_BYTES_PER_TOKEN: Final = 16  # no text in use is denser; spares the tokenizer megabytes that cannot fit

DEFAULT_TEMPLATE: Final = """
You are a routing assistant. Choose the routes that best serve what the user wants.

These are the routes, one per line, within <routes></routes> tags:
<routes>
{routes}
</routes>

This is the conversation with the user, within <conversation></conversation> tags:
<conversation>
{conversation}
</conversation>

## Instructions
1. Find out what the user wants now: the latest user message decides, earlier messages explain it.
2. Compare that with the name and the description of every route.
3. Answer with the exact names of the routes that serve it, in the order in which they are needed.
4. Answer with an empty list when no route serves it, or when what the user wanted has been done already.

## Response Format
Answer with nothing but JSON in exactly this form:
{"route": ["name_of_a_route", "name_of_another_route"]}
With no route the answer is:
{"route": []}
"""

_PLACEHOLDER = re.compile(r"\{(routes|conversation)\}")
_OWN_TAG = re.compile(r"<(?=/?(?:routes|conversation)>)", re.IGNORECASE)


def render_prompt(
    call: OrchestratorCall, count_tokens: CountTokens, context_tokens: int, template: str | None = None
) -> str:
    """The one user message to put to the model, in at most `context_tokens` less `ANSWER_TOKENS` tokens.

    `count_tokens` is the model's tokenizer; what its chat template adds must be taken off `context_tokens` by the
    caller. Older turns are left out first; the newest user turn is always there, at worst trimmed in its middle.
    `template` replaces `DEFAULT_TEMPLATE`; it has the placeholders `{routes}` and `{conversation}`, all other braces
    are plain text. Raises BadCall when the routes alone do not fit.
    """
    layout = template if template is not None else DEFAULT_TEMPLATE
    routes = "\n".join(map(_route_line, call.routes))
    available = context_tokens - ANSWER_TOKENS - count_tokens(_substitute(layout, routes, _conversation([])))
    if available < 16:
        raise BadCall(f"{len(call.routes)} routes leave no room for the conversation in {context_tokens} tokens")
    turns = _fit(call.turns, count_tokens, available)
    return _substitute(layout, routes, _conversation(turns))


def grammar(names: Sequence[str], multiple: bool) -> str:
    """EBNF (as xgrammar reads it) of what may follow `PREFILL`: a list of at most one, or with `multiple` at most
    `MAX_CHOSEN`, of these names. The empty list is always allowed."""
    name = " | ".join(_literal(json.dumps(name, ensure_ascii=False)) for name in names)
    more = f'(", " name){{0,{min(len(names), MAX_CHOSEN) - 1}}} ' if multiple and len(names) > 1 else ""
    return f'root ::= " []}}" | " [" name {more}"]}}"\nname ::= {name}\n'


def json_schema(names: Sequence[str], multiple: bool) -> Json:
    """The answer as a JSON Schema in the part of it that all providers' strict modes know: no `maxItems` there, so the
    first name counts when not `multiple`."""
    number = "in the order in which they are needed" if multiple else "at most one"
    return {
        "type": "object",
        "properties": {
            "route": {
                "type": "array",
                "description": f"Names of the routes, {number}. Empty when none serves.",
                "items": {"type": "string", "enum": list(names)},
            }
        },
        "required": ["route"],
        "additionalProperties": False,
    }


def parse_answer(text: str, names: Sequence[str], multiple: bool) -> tuple[str, ...]:
    """The routes an answer names, each once, in its order; unknown names are left out, and after the first one all
    others unless `multiple`. `text` is the whole answer, `PREFILL` included. Raises BadModelAnswer for what is no
    answer; an empty one chooses nothing."""
    if not text.strip():
        return ()
    try:
        chosen = read_object(text).get("route")
    except BadModelAnswer:
        if text.strip().strip("`\"'").lower() in ("", "none", "null", "[]"):
            return ()
        raise
    if chosen is None:
        return ()
    if isinstance(chosen, str):
        chosen = [chosen]
    if not isinstance(chosen, list):
        raise BadModelAnswer("'route' is neither a list nor a name")
    known = set(names)
    routes = tuple(dict.fromkeys(name for name in chosen if isinstance(name, str) and name in known))
    return routes if multiple else routes[:1]


def _route_line(route: Route) -> str:
    parameters = {"type": "object", "properties": {}, "required": []}
    return _json({"name": route.name, "description": route.description, "parameters": parameters})


def _conversation(turns: Sequence[Turn]) -> str:
    return _json([{"role": turn.role, "content": turn.text} for turn in turns], indent=4)


def _json(value: Any, indent: int | None = None) -> str:
    # A lone surrogate cannot be encoded on its way to the model.
    text = json.dumps(value, ensure_ascii=False, indent=indent).encode("utf-8", "replace").decode()
    return _OWN_TAG.sub(r"\\u003c", text)


def _substitute(template: str, routes: str, conversation: str) -> str:
    """In one pass: a route's description that holds a placeholder's name stays what it is."""
    values = {"routes": routes, "conversation": conversation}
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], template)


def _literal(text: str) -> str:
    """`text` as a string literal of EBNF."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fit(turns: Sequence[Turn], count_tokens: CountTokens, available: int) -> list[Turn]:
    """The newest turns in `available` tokens, oldest first, the newest user turn among them."""
    keep = next((index for index in reversed(range(len(turns))) if turns[index].role == "user"), len(turns) - 1)
    kept = {keep: _shrink(turns[keep], count_tokens, available)}
    left = available - _cost(kept[keep], count_tokens)
    for index in reversed(range(len(turns))):
        if index == keep:
            continue
        turn = turns[index]
        if size_of(turn.text) <= left * _MAX_BYTES_PER_TOKEN and _cost(turn, count_tokens) <= left:
            kept[index] = turn
        elif turn.role == "user" and left >= 24:
            kept[index] = _shrink(turn, count_tokens, left)
        if index in kept:
            left -= _cost(kept[index], count_tokens)
        if kept.get(index) != turn and index < keep:
            break  # nothing older may be shown where something newer is missing
    return [kept[index] for index in sorted(kept)]


def _cost(turn: Turn, count_tokens: CountTokens) -> int:
    return count_tokens(_conversation([turn]))


def _shrink(turn: Turn, count_tokens: CountTokens, available: int) -> Turn:
    """`turn` cut in its middle until it takes at most `available` tokens."""
    limit = min(size_of(turn.text), available * _MAX_BYTES_PER_TOKEN)
    while True:
        trimmed = Turn(turn.role, trim_middle(turn.text, limit))
        cost = _cost(trimmed, count_tokens)
        if cost <= available or limit <= size_of(ELLIPSIS):
            return trimmed
        limit = min(limit - 1, int(limit * available / cost * 0.98))
