"""Counts of tokens, as upstreams report them."""

from __future__ import annotations

from typing import Any, Final

# What every JSON reader takes for the same number (RFC 8259, section 6). Counts are added up, and sums have to fit the
# 64 bits that JSON, msgpack and OTLP have for them; nobody has ever read this many tokens.
MAX_COUNT: Final = 2**53 - 1


def read_count(value: Any) -> int:
    """The count in a field of an answer; 0 for what is none, and for what cannot be true."""
    return value if type(value) is int and 0 < value <= MAX_COUNT else 0
