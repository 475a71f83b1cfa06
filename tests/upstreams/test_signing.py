"""Signatures: AWS's own test suite, and a verification that shares no code with botocore."""

from __future__ import annotations

import hashlib
import hmac
import importlib
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from plano.dialects.converse.request import converse_path
from plano.upstreams.signing import BearerKey, CredentialChain, Credentials, SigningError, find_bearer_key, sign

# "Signature Version 4 Test Suite" of the AWS documentation; botocore is tested with the same files.
EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
MOMENT = datetime(2015, 8, 30, 12, 36, 0)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: MOMENT)


def fields(lines: list[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.usefixtures("moment")
@pytest.mark.parametrize(
    ("method", "headers", "body", "signed", "signature"),
    [
        (
            "GET",  # get-vanilla
            {},
            b"",
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "POST",  # post-vanilla
            {},
            b"",
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "POST",  # post-x-www-form-urlencoded
            {"Content-Type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)
def test_the_signatures_of_the_test_suite(
    method: str, headers: dict[str, str], body: bytes, signed: str, signature: str
) -> None:
    lines = sign(method, "https://example.amazonaws.com/", headers, body, "us-east-1", EXAMPLE, "service")
    assert fields(lines) == {
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}",
    }


def signature_of(
    method: str, url: str, headers: dict[str, str], body: bytes, region: str, secret: str, date: str, signed: str
) -> str:
    """The signature as the receiver computes it, from the documentation of Signature Version 4."""
    parts = urlsplit(url)
    lines = "".join(f"{name}:{headers[name]}\n" for name in signed.split(";"))
    # All services but S3 encode the path, as it was sent, once more.
    path = quote(parts.path, safe="/-_.~")
    canonical = "\n".join([method, path, parts.query, lines, signed, hashlib.sha256(body).hexdigest()])
    scope = f"{date[:8]}/{region}/bedrock/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (date[:8], region, "bedrock", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.usefixtures("moment")
@pytest.mark.parametrize("model", ["us.anthropic.claude-sonnet-4-5-20250929-v1:0", "arn:aws:bedrock:x:1:profile/a b"])
@pytest.mark.parametrize("token", [None, "session+token/=="])
def test_a_call_of_bedrock_is_signed_as_the_receiver_verifies_it(model: str, token: str | None) -> None:
    url = f"https://bedrock-runtime.eu-west-1.amazonaws.com{converse_path(model, True)}"
    body = b'{"messages":[]}'
    credentials = Credentials("AKID", "secret", token)
    sent = {"content-type": "application/json"}
    added = fields(sign("POST", url, sent, body, "eu-west-1", credentials))
    assert ("X-Amz-Security-Token" in added) == (token is not None)
    received = {name.lower(): value for name, value in {**sent, **added}.items()}
    received["host"] = "bedrock-runtime.eu-west-1.amazonaws.com"
    scheme, _, rest = received["authorization"].partition(" ")
    told = dict(part.strip().split("=", 1) for part in rest.split(","))
    assert scheme == "AWS4-HMAC-SHA256"
    assert told["Credential"] == "AKID/20150830/eu-west-1/bedrock/aws4_request"
    assert {"content-type", "host", "x-amz-date"} <= set(told["SignedHeaders"].split(";"))
    expected = signature_of(
        "POST", url, received, body, "eu-west-1", "secret", received["x-amz-date"], told["SignedHeaders"]
    )
    assert told["Signature"] == expected


@pytest.mark.usefixtures("moment")
def test_a_configured_host_is_signed_and_not_given_twice() -> None:
    lines = sign("POST", "https://10.0.0.1/", {"Host": "bedrock.internal"}, b"", "us-east-1", EXAMPLE)
    assert "SignedHeaders=host;x-amz-date" in lines[-1]
    assert all(not line.lower().startswith("host:") for line in lines)


def test_a_bearer_key_needs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_botocore(monkeypatch)
    key = find_bearer_key(None, {"AWS_BEARER_TOKEN_BEDROCK": "abc"})
    assert key == BearerKey("abc")
    assert sign("POST", "https://x/", {}, b"", "us-east-1", key) == ["Authorization: Bearer abc"]
    assert find_bearer_key("configured", {"AWS_BEARER_TOKEN_BEDROCK": "abc"}) == BearerKey("configured")
    assert find_bearer_key(None, {}) is None


def test_secrets_are_not_printed() -> None:
    assert "wJalr" not in repr(EXAMPLE)
    assert "abc" not in repr(BearerKey("abc"))


def forbid_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name.startswith("botocore"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_without_botocore_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_botocore(monkeypatch)
    with pytest.raises(SigningError, match=r"plano-cluster\[bedrock\]"):
        sign("POST", "https://x/", {}, b"", "us-east-1", EXAMPLE)
    with pytest.raises(SigningError, match=r"plano-cluster\[bedrock\]"):
        CredentialChain().resolve()


# -- the chain --------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without credentials, whose files stand in the path given."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.mark.usefixtures("machine")
def test_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    chain = CredentialChain()
    assert chain.resolve() == chain.resolve() == Credentials("AKID", "secret", "token")


def test_credentials_of_a_profile(machine: Path) -> None:
    (machine / "credentials").write_text("[team]\naws_access_key_id = AK\naws_secret_access_key = s\n")
    assert CredentialChain("team").resolve() == Credentials("AK", "s")
    with pytest.raises(SigningError, match="other"):
        CredentialChain("other").resolve()


@pytest.mark.usefixtures("machine")
def test_no_credentials() -> None:
    with pytest.raises(SigningError, match="No AWS credentials were found"):
        CredentialChain().resolve()


def test_credentials_that_cannot_be_renewed(machine: Path) -> None:
    command = "/bin/false"
    (machine / "config").write_text(f"[profile p]\ncredential_process = {command}\n")
    with pytest.raises(SigningError):
        CredentialChain("p").resolve()
