"""Signatures of thoughts: what proves to the provider that a thinking block is its own and unchanged.

Real providers sign or encrypt what they let a client carry for them, and refuse what they cannot verify. So does this
one, in every dialect: a gateway that loses, changes or mixes up signatures is told.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256

_MARK = b"plano-demo:"
_DIGEST_BYTES = 16


def sign_text(text: str) -> str:
    """Return the signature of a text, in base64."""
    return b64encode(_MARK + sha256(text.encode()).digest()[:_DIGEST_BYTES]).decode()


def is_signature(value: object) -> bool:
    """Return whether a value is a signature of ours, of whatever text, in either alphabet of base64 (Google's SDKs read
    one and write the other)."""
    if not isinstance(value, str):
        return False
    try:
        decoded = b64decode(value, altchars=b"-_" if {"-", "_"} & set(value) else None, validate=True)
    except ValueError:
        return False
    return decoded.startswith(_MARK) and len(decoded) == len(_MARK) + _DIGEST_BYTES
