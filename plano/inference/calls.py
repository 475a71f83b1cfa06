"""What is asked of each role and what comes back: the bodies of the wire's messages, as values.

`pack` gives a value made of msgpack's types; `unpack` reads one that came over the wire and raises `BadCall` for
whatever it is instead. Nothing from the wire is trusted.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, Self

Json = dict[str, Any]
RoleName = Literal["orchestrator", "guard", "function"]
ROLES: Final[tuple[RoleName, ...]] = ("orchestrator", "guard", "function")

MAX_ROUTES: Final = 1_000
MAX_TOOLS: Final = 256
MAX_WIRE_TURNS: Final = 64


class BadCall(Exception):
    """A call that its role does not understand. The message is safe to log and to send back."""


class Turn(NamedTuple):
    """One message of a conversation as the orchestrator sees it: plain text, never empty."""

    role: Literal["user", "assistant"]
    text: str


class Route(NamedTuple):
    """What may be chosen: a name, unique within a call, and a description in the words of the config."""

    name: str
    description: str


class OrchestratorCall(NamedTuple):
    """Which of `routes` serve the last user turn? `turns` are oldest first, `routes` in the order of the config.

    `multiple`: several routes may be named, in the order in which they are to be taken; else at most one.
    """

    turns: tuple[Turn, ...]
    routes: tuple[Route, ...]
    multiple: bool = False

    def pack(self) -> Json:
        return {"turns": self.turns, "routes": self.routes, "multiple": self.multiple}

    @classmethod
    def unpack(cls, body: Any) -> Self:
        fields = _object(body)
        turns = tuple(Turn(_one_of(role, ("user", "assistant")), _text(text)) for role, text in _pairs(fields, "turns"))
        routes = tuple(Route(_text(name), _text(description)) for name, description in _pairs(fields, "routes"))
        if not 1 <= len(turns) <= MAX_WIRE_TURNS:
            raise BadCall(f"a call carries 1 to {MAX_WIRE_TURNS} turns, not {len(turns)}")
        if not 1 <= len(routes) <= MAX_ROUTES:
            raise BadCall(f"a call carries 1 to {MAX_ROUTES} routes, not {len(routes)}")
        if len({route.name for route in routes}) != len(routes):
            raise BadCall("two routes have the same name")
        return cls(turns, routes, fields.get("multiple") is True)


class Decision(NamedTuple):
    """The chosen routes in order; empty when none serves. `confidence` is a probability, or None where the engine
    cannot tell."""

    routes: tuple[str, ...]
    confidence: float | None = None

    def pack(self) -> Json:
        return {"routes": self.routes, "confidence": self.confidence}

    @classmethod
    def unpack(cls, body: Any) -> Self:
        fields = _object(body)
        return cls(tuple(_text(name) for name in _list(fields, "routes")), _probability(fields.get("confidence")))


class GuardCall(NamedTuple):
    """Is any of these texts an attempt to lift a model's rules?"""

    texts: tuple[str, ...]

    def pack(self) -> Json:
        return {"texts": self.texts}

    @classmethod
    def unpack(cls, body: Any) -> Self:
        texts = tuple(_text(text) for text in _list(_object(body), "texts"))
        if not texts:
            raise BadCall("there is no text to look at")
        return cls(texts)


class Verdict(NamedTuple):
    """`probability` that the most suspicious of the texts is an attack (0.5 is where the engine itself would block).
    `flagged`: worth a note, though perhaps not certain enough to block."""

    probability: float
    flagged: bool

    def pack(self) -> Json:
        return {"probability": self.probability, "flagged": self.flagged}

    @classmethod
    def unpack(cls, body: Any) -> Self:
        fields = _object(body)
        probability = _probability(fields.get("probability"))
        if probability is None:
            raise BadCall("'probability' is missing")
        return cls(probability, fields.get("flagged") is True)


class Tool(NamedTuple):
    """`parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Json


class FunctionCall(NamedTuple):
    """What do these `tools` have to be called with? `messages` are of the chat completions dialect (role, content,
    tool_calls, tool_call_id), oldest first; the last one is the user's or a tool's."""

    messages: tuple[Json, ...]
    tools: tuple[Tool, ...]

    def pack(self) -> Json:
        return {"messages": self.messages, "tools": self.tools}

    @classmethod
    def unpack(cls, body: Any) -> Self:
        fields = _object(body)
        messages = tuple(_object(message) for message in _list(fields, "messages"))
        tools: list[Tool] = []
        for item in _list(fields, "tools"):
            if not isinstance(item, list | tuple) or len(item) != 3:
                raise BadCall("'tools' holds something else than [name, description, parameters]")
            tools.append(Tool(_text(item[0]), _text(item[1]), _object(item[2])))
        if not messages:
            raise BadCall("there is no message")
        if not 1 <= len(tools) <= MAX_TOOLS:
            raise BadCall(f"a call carries 1 to {MAX_TOOLS} tools, not {len(tools)}")
        if len({tool.name for tool in tools}) != len(tools):
            raise BadCall("two tools have the same name")
        return cls(messages, tuple(tools))


class ToolCall(NamedTuple):
    """A call that has passed its tool's JSON Schema; types are coerced as far as that loses nothing."""

    name: str
    arguments: Json


class FunctionAnswer(NamedTuple):
    """One of three outcomes.

    `calls`: every call in `calls` is to be made, in order. `clarify`: `question` is to be put to the user, who has left
    out something required. `none`: no tool serves; `candidates` are the tools that come closest, the best first, for a
    larger model to choose from (may be empty). `raw` is the model's own text, "" where there is none.
    """

    outcome: Literal["calls", "clarify", "none"]
    calls: tuple[ToolCall, ...] = ()
    question: str = ""
    candidates: tuple[str, ...] = ()
    raw: str = ""

    def pack(self) -> Json:
        return self._asdict()

    @classmethod
    def unpack(cls, body: Any) -> Self:
        fields = _object(body)
        calls: list[ToolCall] = []
        for item in _list(fields, "calls"):
            if not isinstance(item, list | tuple) or len(item) != 2:
                raise BadCall("'calls' holds something else than [name, arguments]")
            calls.append(ToolCall(_text(item[0]), _object(item[1])))
        return cls(
            _one_of(fields.get("outcome"), ("calls", "clarify", "none")),
            tuple(calls),
            _text(fields.get("question", "")),
            tuple(_text(name) for name in _list(fields, "candidates")),
            _text(fields.get("raw", "")),
        )


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise BadCall(f"expected a map, got {type(value).__name__}")
    return value


def _list(fields: Json, name: str) -> list[Any] | tuple[Any, ...]:
    value = fields.get(name, ())
    if not isinstance(value, list | tuple):
        raise BadCall(f"{name!r} is not a list")
    return value


def _pairs(fields: Json, name: str) -> list[tuple[Any, Any]]:
    pairs: list[tuple[Any, Any]] = []
    for item in _list(fields, name):
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise BadCall(f"{name!r} holds something else than pairs")
        pairs.append((item[0], item[1]))
    return pairs


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadCall(f"expected a string, got {type(value).__name__}")
    return value


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise BadCall(f"expected one of {', '.join(choices)}")
    return value


def _probability(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadCall("a probability is a number from 0 to 1")
    return float(value)
