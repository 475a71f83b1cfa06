"""What the provider needs of a dialect: read a prompt, write an answer, an error, a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from plano.demo.answers import Answer
from plano.demo.prompts import Prompt, PromptError

EventKind = Literal["opening", "content", "closing", "done"]


class Event(NamedTuple):
    """One server-sent event. `kind` says where in the stream it stands: what opens it, content (text or arguments of a
    tool call), what closes it, and the end mark. `wire` is the event as it goes over the wire in streams of another
    form."""

    kind: EventKind
    data: bytes
    name: str | None = None
    wire: bytes | None = None

    def frame(self) -> bytes:
        """The event as it goes over the wire, with what ends it."""
        if self.wire is not None:
            return self.wire
        if self.name is None:
            return b"data: %b\n\n" % self.data
        return b"event: %b\ndata: %b\n\n" % (self.name.encode(), self.data)


class Dialect(Protocol):
    """An API shape. Implementations hold no state."""

    name: str
    request_id_header: str = "x-request-id"
    stream_type: str = "text/event-stream; charset=utf-8"

    def read_key(self, headers: Mapping[str, str]) -> str | None:
        """Return the credential of a request, None where it has none."""

    def parse_prompt(self, body: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a request body. Raises PromptError where the API would refuse it."""

    def render_answer(self, prompt: Prompt, answer: Answer) -> bytes:
        """Return the JSON body of an answer."""

    def render_events(self, prompt: Prompt, answer: Answer) -> Iterator[Event]:
        """Yield the events of a streamed answer."""

    def answer_type(self, prompt: Prompt) -> str:
        """Return the Content-Type of the answer to a prompt."""
        return "application/json"

    def error_headers(self, error: PromptError) -> Mapping[str, str]:
        """Return the headers by which the API tells one error from another, if it does."""
        return {}

    def render_error(self, error: PromptError) -> bytes:
        """Return the JSON body of an error."""

    def render_error_event(self, error: PromptError) -> Event:
        """Return the event by which a stream reports an error."""
