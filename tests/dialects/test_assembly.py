"""Streams folded into answers, and answers unfolded into streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.assembly import Assembler, events_of
from plano.dialects.conversation import (
    Answer,
    Audio,
    Block,
    Choice,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    UpstreamError,
    Usage,
)
from plano.dialects.events import (
    ArgumentsDelta,
    BlockKind,
    BlockStarted,
    BlockStopped,
    Ended,
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    UsageKnown,
)


def assemble(events: list[Event]) -> Answer:
    assembler = Assembler("chat")
    for event in events:
        assembler.add(event)
    return assembler.answer()


texts = st.text(max_size=20)
blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, texts, citations=st.lists(st.just({"type": "char_location"}), max_size=2)),
    st.builds(ToolUse, texts, texts, texts, custom=st.booleans(), signature=st.none() | texts),
    st.builds(Thinking, texts, signature=st.none() | texts, id=st.none() | texts, summary=st.booleans()),
    st.builds(RedactedThinking, texts),
    st.builds(Refusal, texts),
    st.builds(Opaque, st.just("chat"), st.just({"type": "search"})),
)
answers = st.builds(
    Answer,
    texts,
    texts,
    st.lists(blocks, max_size=5),
    st.sampled_from(StopReason),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), known=st.just(True)),
    stop_sequence=st.none() | texts,
    created=st.none() | st.integers(0, 9),
    service_tier=st.none() | texts,
    alternatives=st.lists(st.lists(blocks, max_size=3), max_size=2).map(
        lambda lists: [Choice(index, some, StopReason.END) for index, some in enumerate(lists, 1)]
    ),
)


@given(answers)
def test_an_answer_unfolded_and_folded_again_is_the_same(answer: Answer) -> None:
    assert assemble(events_of(answer)) == answer


def test_interleaved_blocks_keep_their_deltas_apart_and_stand_in_the_order_in_which_they_opened() -> None:
    answer = assemble(
        [
            Started("id", "model"),
            BlockStarted(0, BlockKind.TOOL_USE, id="a", name="f"),
            BlockStarted(1, BlockKind.TOOL_USE, id="b", name="g"),
            ArgumentsDelta(1, '{"x"'),
            ArgumentsDelta(0, "{}"),
            ArgumentsDelta(1, ":1}"),
            BlockStopped(1),
            BlockStopped(0),
            Finished(StopReason.TOOL_USE),
            Ended(),
        ]
    )
    assert answer.blocks == [ToolUse("a", "f", "{}"), ToolUse("b", "g", '{"x":1}')]


def test_the_last_usage_counts() -> None:
    events: list[Event] = [UsageKnown(Usage(1, 0, known=True)), UsageKnown(Usage(1, 5, known=True))]
    assert assemble(events).usage == Usage(1, 5, known=True)


def test_a_stream_that_broke_says_so_and_gives_what_there_was() -> None:
    assembler = Assembler()
    error = UpstreamError("server", "gone")
    for event in [
        Started("i", "m"),
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "Hel"),
        TextDelta(7, "?"),
        Failed(error),
    ]:
        assembler.add(event)
    assert (assembler.failed, assembler.ended) == (error, False)
    assert assembler.answer() == Answer("i", "m", [Text("Hel")], StopReason.OTHER, Usage())


def test_blocks_that_no_stream_has_are_left_out() -> None:
    answer = Answer("i", "m", [Audio("AA==", "wav"), Text("a")], StopReason.END, Usage())
    assert assemble(events_of(answer)).blocks == [Text("a")]
