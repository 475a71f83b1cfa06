"""What a CURVE key looks like."""

from __future__ import annotations

import re
import struct
from typing import Final

# ZeroMQ RFC 32 (Z85): 32 bytes are 40 characters of this alphabet.
_TEXT: Final = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


def check_key(value: str) -> str:
    """A Z85 key, without the blanks that a file may have around it. Raises ValueError, which never repeats it."""
    value = value.strip()
    if not _TEXT.fullmatch(value):
        raise ValueError("must be a CURVE key: 40 characters of Z85")
    from zmq.utils import z85

    try:
        z85.decode(value.encode())
    except struct.error:  # five characters say more than four bytes hold
        raise ValueError("must be a CURVE key: these 40 characters of Z85 are no 32 bytes") from None
    return value
