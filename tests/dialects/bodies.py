"""Request bodies as clients of any kind may spell them, for properties."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

# Whole numbers beyond 64 bits and the like lose precision in any JSON library; they are no property of ours.
_numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['"model"', '"model":"x"', "model", '\\"model\\"', "mod\\u0065l", "data: [DONE]", '"usage":{', "\\", '"', "}", ": "]
)
_keys = st.sampled_from(["model", "messages", "Model", "models", "model ", 'm"odel', "stream"]) | _texts

values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)
model_names = _texts | st.sampled_from(["gpt-4o", "openai/gpt-4o", "", "ü/模型", "a\nb", 'quo"te'])
objects = st.dictionaries(_keys, values, max_size=6)


# orjson reads 1,024 levels and writes 254.
NESTED: dict[str, Any] = json.loads('{"a":' * 400 + "1" + "}" * 400)


@st.composite
def spelled(draw: st.DrawFn, body: Any) -> bytes:
    """`body` as JSON: with one of several spacings, and non-ASCII characters escaped or not."""
    item, key = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", "\r\n :  ")]))
    indent = draw(st.sampled_from([None, None, 2]))
    text = json.dumps(body, separators=(item, key), indent=indent, ensure_ascii=draw(st.booleans()))
    around = draw(st.sampled_from(["", "\n", " \t"]))
    return (around + text + around).encode()
