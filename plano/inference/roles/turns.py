"""What of a conversation the orchestrator is shown: plain text, few turns, bounded bytes."""

from __future__ import annotations

from typing import Final

from plano.dialects.conversation import Conversation, Refusal, Text
from plano.dialects.conversation import Turn as ConversationTurn
from plano.inference.calls import Turn

MAX_TURNS: Final = 16
MAX_BYTES: Final = 64 * 1024  # of all turns together; twice what 8,192 tokens of English take
ELLIPSIS: Final = "\u2026"
HEAD_SHARE: Final = 0.6  # of a trimmed text: what is asked stands at the beginning more often than at the end


def select_turns(
    conversation: Conversation, max_turns: int = MAX_TURNS, max_bytes: int = MAX_BYTES
) -> tuple[Turn, ...]:
    """The newest turns that have text, oldest first, at most `max_turns` and `max_bytes` of UTF-8 in all.

    System texts, tool results, tool calls, images and reasoning are left out. The newest user turn is always among
    them, trimmed in its middle when it alone is too large; of what is left of the bytes the newest turns get theirs
    first. Empty when no user has said anything in words.
    """
    turns = [turn for turn in map(_plain, conversation.turns) if turn is not None]
    newest_user = next((index for index in reversed(range(len(turns))) if turns[index].role == "user"), None)
    if newest_user is None:
        return ()
    first = max(0, len(turns) - max_turns)
    candidates = turns[first:]
    if newest_user < first:
        candidates = [turns[newest_user], *candidates[1:]]
        newest_user = first
    return fit(candidates, newest_user - first, max_bytes)


def fit(turns: list[Turn], keep: int, max_bytes: int) -> tuple[Turn, ...]:
    """As many of the newest `turns` as `max_bytes` of UTF-8 hold, in their order. `turns[keep]` is always among them,
    if need be trimmed. The first older one that does not fit ends the selection: a user's is trimmed to what is left,
    an assistant's dropped. A newer one that does not fit is trimmed or dropped likewise."""
    kept = {keep: Turn(turns[keep].role, trim_middle(turns[keep].text, max_bytes))}
    left = max_bytes - size_of(kept[keep].text)
    for index in reversed(range(len(turns))):
        if index == keep:
            continue
        turn = turns[index]
        size = size_of(turn.text)
        if size > left:
            if turn.role == "user" and left > size_of(ELLIPSIS):
                kept[index] = Turn(turn.role, trim_middle(turn.text, left))
            if index < keep:
                break
            left = max(0, left - size_of(kept[index].text)) if index in kept else left
            continue
        kept[index] = turn
        left -= size
    return tuple(kept[index] for index in sorted(kept))


def trim_middle(text: str, max_bytes: int) -> str:
    """`text` in at most `max_bytes` of UTF-8: what does not fit is cut out of its middle, an ellipsis (U+2026, three
    bytes) stands there, 60 % of the rest before it. With no room for the ellipsis only the head is kept."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= max_bytes:
        return text
    available = max_bytes - len(ELLIPSIS.encode())
    if available <= 0:
        return raw[: max(0, max_bytes)].decode("utf-8", "ignore")
    head = raw[: int(available * HEAD_SHARE)].decode("utf-8", "ignore")
    tail = available - size_of(head)
    return head + ELLIPSIS + raw[len(raw) - tail :].decode("utf-8", "ignore")


def size_of(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text.encode("utf-8", "replace"))


def words_of(turn: ConversationTurn) -> str:
    """The text of a turn, its parts joined by newlines; "" when it has none."""
    return "\n".join(block.text for block in turn.blocks if isinstance(block, Text | Refusal) and block.text.strip())


def _plain(turn: ConversationTurn) -> Turn | None:
    if turn.role == "system":
        return None
    text = words_of(turn)
    return Turn(turn.role, text) if text else None
