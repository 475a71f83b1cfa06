"""Which tool call a delta of a stream belongs to: the chat dialect's `tool_calls`, as servers really send them.

By the reference (ChatCompletionMessageToolCallChunk) a call has an `index`, its first delta the id and the name, all
others only more of the arguments. Seen in the wild: indexes that start at 1, that are missing, or that are 0 for every
call (Gemini's compatible endpoint); the id, or id and name, in every delta; whole calls in one delta; no id at all
(early Gemini, Ollama); the arguments as an object instead of its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from plano.dialects.chat.answer import call_id
from plano.dialects.chat.tools import arguments_text, tagged_signature
from plano.dialects.conversation import BadAnswer, Json


@dataclass(slots=True)
class Call:
    """A call of which more may come. `index` is its number among the blocks, -1 as long as it is not open."""

    id: str
    given_id: str = ""
    name: str = ""
    custom: bool = False
    held: bool = False  # a function that stands for a free-text tool: its text is known when the arguments are whole
    index: int = -1
    pieces: list[str] = field(default_factory=list)
    taken: int = 0  # of `pieces`
    signature: str | None = None
    signature_sent: bool = False

    def take_pending(self) -> str:
        """The arguments that came since the last time."""
        pending = self.pieces[self.taken :]
        self.taken = len(self.pieces)
        return pending[0] if len(pending) == 1 else "".join(pending)

    def is_whole(self) -> bool:
        """Are the arguments so far whole JSON?"""
        try:
            orjson.loads("".join(self.pieces))
        except orjson.JSONDecodeError:
            return False
        return True


class CallTable:
    """The calls of one choice. `order` holds them as they began."""

    def __init__(self, choice: int) -> None:
        self.order: list[Call] = []
        self._choice = choice
        self._by_index: dict[int, Call] = {}

    def add(self, entry: Json, answer_id: str) -> Call | None:
        """Take in one element of `tool_calls`; the call it belongs to, None when it says nothing. Raises BadAnswer."""
        custom = entry.get("custom")
        function = custom if type(custom) is dict else entry.get("function")
        if type(function) is not dict:
            function = {}
        name, given = function.get("name"), entry.get("id")
        name = name if type(name) is str else ""
        given = given if type(given) is str else ""
        index = entry.get("index")
        number = index if type(index) is int else None
        text = arguments_text(function.get("input") if type(custom) is dict else function.get("arguments"))
        if text is None:
            raise BadAnswer("The upstream sent a tool call that is nested too deeply.")
        call = self._find(number, given, name)
        if call is None:
            if not (given or name or text):
                return None
            call = Call(given or call_id(answer_id, self._choice, len(self.order)), given)
            call.custom = type(custom) is dict
            self.order.append(call)
            if number is not None:
                self._by_index[number] = call
        if not call.name:
            call.name = name
        if given and not call.given_id and call.index < 0:
            call.id = call.given_id = given
        if text:
            call.pieces.append(text)
        call.signature = tagged_signature(entry) or call.signature
        return call

    def _find(self, number: int | None, given: str, name: str) -> Call | None:
        """The call that a delta continues; None when it begins one."""
        if number is None:
            for call in self.order:
                if given and call.given_id == given:
                    return call
            if not self.order:
                return None
            last = self.order[len(self.order) - 1]
            if given and last.given_id:
                return None
            return None if name and last.name and (name != last.name or last.is_whole()) else last
        known = self._by_index.get(number)
        if known is None or not name or not known.name:
            return known
        # A name again: either the server repeats it in every delta, or it gives the same index to another call.
        if given and known.given_id:
            return known if given == known.given_id else None
        return None if known.is_whole() else known
