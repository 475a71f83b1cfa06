"""Token counts as a record has them."""

from __future__ import annotations

from typing import Final

# Input, output, cached and reasoning tokens; None when the upstream did not say.
KnownUsage = tuple[int | None, int | None, int | None, int | None]
UNKNOWN_USAGE: Final[KnownUsage] = (None, None, None, None)
