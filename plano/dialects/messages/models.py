"""What the generations of Claude models accept of the messages dialect. No I/O.

Source: Anthropic's documentation, "Troubleshooting thinking" (table of thinking modes by model), "Effort", "Structured
outputs" and the migration guides of Claude 4.7, 5 and 5.5. A model whose name has no version (an alias, another
vendor's model behind a messages API) is taken for one of the first generation with thinking: what that one accepts, the
others' APIs copied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# claude-opus-4-8, claude-3-7-sonnet-20250219, anthropic/claude-4.7-opus, anthropic.claude-opus-4-6-v1:0. A date is no
# minor version.
_VERSION: Final = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?:-([a-z]+))?")
# Models without a version in their name that think adaptively, and always.
_ALWAYS_THINKS: Final = frozenset({"fable", "mythos"})


@dataclass(slots=True)
class ModelLimits:
    """`adaptive`: thinking is asked for as adaptive with an effort, not by a budget of tokens. `off`: the `type` that
    switches thinking off, None when it cannot be. `xhigh`: that effort exists. `sampling`: temperature, top_p and top_k
    may be set. `both`: temperature and top_p may be set together. `strict`: tools may be strict."""

    adaptive: bool = False
    off: str | None = "disabled"
    xhigh: bool = False
    sampling: bool = True
    both: bool = True
    strict: bool = False


def limits_of(model: str) -> ModelLimits:
    """What `model` accepts, as far as its name tells."""
    name = model.lower()
    if "claude-mythos-preview" in name:
        return ModelLimits(adaptive=True, off=None, xhigh=True, both=False, strict=True)
    match = _VERSION.search(name)
    if match is None:
        return ModelLimits()
    family = match.group(1) or match.group(4) or ""
    version = (int(match.group(2)), int(match.group(3) or 0))
    off: str | None = "disabled"
    if family in _ALWAYS_THINKS or (family == "opus" and version >= (5, 5)):
        off = None
    elif family == "sonnet" and version >= (5, 5):
        off = "between_tools"
    return ModelLimits(
        adaptive=version >= (4, 6),
        off=off,
        xhigh=version >= (4, 7),
        sampling=version < (4, 7),
        both=version < (4, 1),
        strict=version >= (4, 5) or (family == "opus" and version == (4, 1)),
    )
