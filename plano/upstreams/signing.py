"""What proves to AWS who calls: Signature Version 4 by botocore (extra `[bedrock]`), or a Bedrock API key.

Sources: AWS General Reference, "Signature Version 4 signing process"; Bedrock user guide, "API keys" (a bearer token,
environment variable AWS_BEARER_TOKEN_BEDROCK). botocore is loaded when it is first needed: with a bearer key never.

Signing is arithmetic and may be done on the event loop (about 0.1 ms, and a SHA-256 of the body); finding credentials
reads files and may call the container's or instance's metadata service, and belongs in a thread.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BEARER_VARIABLE: Final = "AWS_BEARER_TOKEN_BEDROCK"
SERVICE: Final = "bedrock"  # the name in the credential scope, for all of Bedrock's endpoints


class SigningError(Exception):
    """Requests cannot be signed. The message says what to do about it and holds no secret."""


@dataclass(frozen=True, slots=True)
class BearerKey:
    """A Bedrock API key."""

    key: str

    def __repr__(self) -> str:
        return "BearerKey(...)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key for one moment. `token` is the session token of temporary credentials."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, ...)"


class CredentialChain:
    """botocore's default chain: environment, profile files, SSO, web identity, container, instance.

    `resolve` may be called from any thread as often as wanted: temporary credentials are renewed some minutes before
    they expire, until then it answers at once.
    """

    def __init__(self, profile: str | None = None) -> None:
        self._profile = profile
        self._source: Any = None  # botocore's credentials object, which renews itself

    def resolve(self) -> Credentials:
        """The credentials of this moment. Blocks on files and network. Raises SigningError."""
        if self._source is None:
            self._source = self._find()
        botocore_errors = _load("botocore.exceptions")
        try:
            frozen = self._source.get_frozen_credentials()
        except botocore_errors.BotoCoreError as error:
            raise SigningError(f"AWS credentials could not be renewed: {error}") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    def _find(self) -> Any:
        session_module, botocore_errors = _load("botocore.session"), _load("botocore.exceptions")
        try:
            source = session_module.Session(profile=self._profile).get_credentials()
        except botocore_errors.BotoCoreError as error:
            raise SigningError(f"AWS credentials could not be read: {error}") from error
        if source is None:
            raise SigningError(
                "No AWS credentials were found (environment, profile, container, instance). Configure them, or set "
                f"access_key or {BEARER_VARIABLE} to a Bedrock API key."
            )
        return source


def find_bearer_key(access_key: str | None, environ: Mapping[str, str] = os.environ) -> BearerKey | None:
    """The Bedrock API key that the configuration or the environment gives, None when requests are to be signed."""
    key = access_key or environ.get(BEARER_VARIABLE)
    return BearerKey(key) if key else None


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    credentials: Credentials | BearerKey,
    service: str = SERVICE,
) -> list[str]:
    """The header lines (`Name: value`, without line ends) to send beside `headers`, all of which are signed: give
    those that nobody on the way changes (content-type, x-amz-*), no connection headers. `url` is absolute and encoded
    as it will be sent; its authority is signed as the host, unless `headers` has one.

    Raises SigningError when botocore is not installed.
    """
    if isinstance(credentials, BearerKey):
        return [f"Authorization: Bearer {credentials.key}"]
    auth, awsrequest = _load("botocore.auth"), _load("botocore.awsrequest")
    known = _load("botocore.credentials").Credentials(credentials.access_key, credentials.secret_key, credentials.token)
    request = awsrequest.AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    auth.SigV4Auth(known, service, region).add_auth(request)
    given = {name.lower() for name in headers}
    return [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in given]


def _load(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SigningError(
            "Calling Bedrock with AWS credentials needs botocore: pip install 'plano-cluster[bedrock]'. With a Bedrock "
            "API key (access_key) it is not needed."
        ) from error
