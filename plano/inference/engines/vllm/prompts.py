"""A model's tokenizer and chat template, as the roles that write text need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from plano.inference.engines.engine import EngineError

Json = dict[str, Any]

_LONG_CHARS: Final = 1_024
_MOST_REMEMBERED: Final = 1_024


class Prompts:
    """Counts tokens and makes prompts of messages. Raises EngineError for a model without a chat template."""

    def __init__(self, tokenizer: Any, model: str) -> None:
        self._tokenizer = tokenizer
        self.encode: Callable[[str], list[int]] = encoder_of(tokenizer)
        try:
            empty = self._render([{"role": "user", "content": ""}])
        except Exception as error:
            raise EngineError(f"{model} has no usable chat template; it takes a chat model ({error})") from error
        self._counted: dict[int, int] = {}
        self.overhead_tokens = len(self.encode(empty))
        """What the template adds to a single user message."""

    def count(self, text: str) -> int:
        """How many tokens `text` is. What is long is often the same again, as the text of the routes is; its count is
        remembered by its hash, for nothing that a user has said is kept here."""
        if len(text) < _LONG_CHARS:
            return len(self.encode(text))
        key = hash(text)
        count = self._counted.get(key)
        if count is None:
            if len(self._counted) >= _MOST_REMEMBERED:
                self._counted.clear()
            count = self._counted[key] = len(self.encode(text))
        return count

    def token_ids(self, messages: Sequence[Json], prefill: str) -> list[int]:
        """The prompt that ends in the beginning of the assistant's answer, `prefill`."""
        return self.encode(self._render(messages) + prefill)

    def _render(self, messages: Sequence[Json]) -> str:
        # A hybrid model is told not to think: the grammar would not let it, and there is no time to.
        rendered: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return rendered


def encoder_of(tokenizer: Any) -> Callable[[str], list[int]]:
    """From text to token ids without special tokens around it; special tokens spelt out in the text count as such."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    batch = getattr(fast, "encode_batch_fast", None)
    if batch is not None:  # spares the offsets, which cost as much as the tokens

        def encode(text: str) -> list[int]:
            ids: list[int] = batch([text], add_special_tokens=False)[0].ids
            return ids

        return encode

    def encode_slowly(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return encode_slowly
