"""What some providers need besides what the file says (spec 1.18): put in where the user has not said otherwise."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from plano.config.schema.file import PlanoFile
from plano.config.schema.providers import ModelProvider
from plano.upstreams.catalogue import find_provider, resolve_provider
from plano.upstreams.signing import BEARER_VARIABLE

KIMI_CODING_HOST = "api.kimi.com"
KIMI_CODING_MODEL = "kimi-for-coding"
KIMI_USER_AGENT = "KimiCLI/1.3"
CODEX_ORIGINATOR = "codex_cli_rs"
CODEX_USER_AGENT = "codex_cli_rs/0.0.0"
# In this order, as in the AWS SDKs.
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")

# AWS General Reference, "Amazon Bedrock endpoints", and VPC interface endpoints:
# bedrock-runtime.us-east-1.amazonaws.com, vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com.
_BEDROCK_HOST = re.compile(
    r"(?:[^.]+\.)*bedrock-runtime(?:-fips)?\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d+)\.(?:vpce\.|api\.)?"
    r"(?:amazonaws\.com|amazonaws\.com\.cn|aws)",
    re.IGNORECASE,
)


def wire(file: PlanoFile, variables: Mapping[str, str]) -> PlanoFile:
    """A migrated file with the ChatGPT, Kimi and Bedrock entries completed from the environment and from constants."""
    providers = [
        _wire_bedrock(_wire_kimi(_wire_chatgpt(provider, variables)), variables) for provider in file.providers
    ]
    return file.model_copy(update={"model_providers": providers})


def _wire_chatgpt(provider: ModelProvider, variables: Mapping[str, str]) -> ModelProvider:
    entry = find_provider(provider.prefix)
    if entry is None or entry.prefix != "chatgpt":
        return provider
    headers = {"originator": CODEX_ORIGINATOR, "user-agent": CODEX_USER_AGENT, "session_id": str(uuid.uuid4())}
    account = variables.get("CHATGPT_ACCOUNT_ID")
    if account:
        headers = {"ChatGPT-Account-Id": account, **headers}
    return provider.model_copy(
        update={
            "base_url": provider.base_url or f"https://{entry.host}{entry.base_path}",
            "passthrough_auth": provider.passthrough_auth or not provider.access_key,
            "headers": _complete(provider.headers, headers),
        }
    )


def _wire_kimi(provider: ModelProvider) -> ModelProvider:
    parts = urlsplit(provider.base_url) if provider.base_url else None
    if provider.model_id != KIMI_CODING_MODEL and (parts is None or parts.hostname != KIMI_CODING_HOST):
        return provider
    base_url = provider.base_url
    if parts is not None and parts.path.rstrip("/") == "/coding":
        base_url = urlunsplit(parts._replace(path="/coding/v1"))
    headers = _complete(provider.headers, {"User-Agent": KIMI_USER_AGENT})
    return provider.model_copy(update={"base_url": base_url, "headers": headers})


def _wire_bedrock(provider: ModelProvider, variables: Mapping[str, str]) -> ModelProvider:
    entry = resolve_provider(provider.prefix, provider.provider_interface)
    if entry is None or "converse" not in entry.dialects:
        return provider
    region = provider.region or _find_region(provider)
    for variable in REGION_VARIABLES:
        region = region or variables.get(variable, "").strip() or None
    access_key = provider.access_key
    if not access_key and not provider.passthrough_auth:
        access_key = variables.get(BEARER_VARIABLE, "").strip() or None
    return provider.model_copy(update={"region": region, "access_key": access_key})


def _find_region(provider: ModelProvider) -> str | None:
    """The region in the address of a Bedrock endpoint. The Host header tells it where a tunnel is called instead."""
    called = urlsplit(provider.base_url).hostname if provider.base_url else None
    for host in (called, provider.http_host):
        found = _BEDROCK_HOST.fullmatch(host) if host else None
        if found is not None:
            return found["region"].lower()
    return None


def _complete(given: Mapping[str, str] | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """The user's headers, then those defaults whose name the user has not used in any case."""
    names = {name.lower() for name in given or {}}
    return {**(given or {}), **{name: value for name, value in defaults.items() if name.lower() not in names}}
