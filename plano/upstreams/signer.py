"""Keeps the credentials that requests to AWS are signed with, and signs. See `signing.py` for the arithmetic."""

from __future__ import annotations

import asyncio
import logging

from plano.upstreams.signing import CredentialChain, Credentials, SigningError, sign

log = logging.getLogger(__name__)


class RequestSigner:
    """One per region. `refresh` finds or renews the credentials off the event loop: it is called before the first
    request and then with every sweep, because temporary credentials expire."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._chain = CredentialChain()
        self._credentials: Credentials | None = None
        self._problem = "the credentials have not been read yet"

    async def refresh(self) -> None:
        try:
            self._credentials = await asyncio.to_thread(self._chain.resolve)
        except SigningError as error:
            if str(error) != self._problem:
                log.warning("Bedrock: %s", error)
            self._problem = str(error)

    def lines(self, url: str, body: bytes) -> bytes:
        """The header lines that sign a POST of `body` to `url`. Raises SigningError without credentials."""
        if self._credentials is None:
            raise SigningError(self._problem)
        headers = {"content-type": "application/json"}
        signed = sign("POST", url, headers, body, self._region, self._credentials)
        return "".join(f"{line}\r\n" for line in signed).encode("latin-1")
