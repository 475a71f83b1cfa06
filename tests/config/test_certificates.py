"""Files that a config file names: what is wrong with them is found before anything is started, and said by name."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from plano.config.certificates import CertificateError, load_certificates
from plano.config.loading import load
from plano.config.plan import TlsPlan
from plano.config.problems import ConfigError

NONSENSE = "-----BEGIN {label}-----\nbm9uc2Vuc2U=\n-----END {label}-----\n"


class Files:
    """A certificate, its key and an authority in a folder, and a config file that names them."""

    def __init__(self, folder: Path, authority: trustme.CA, issued: trustme.LeafCert) -> None:
        self.folder = folder
        self.chain, self.key, self.ca = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
        self.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)
        authority.cert_pem.write_to_path(self.ca)
        self.config = folder / "plano.yaml"
        self.config.write_text(
            "version: v0.4.0\n"
            "listeners:\n"
            "  - type: model\n"
            "    name: llm\n"
            "    tls:\n"
            f"      cert_file: {self.chain}\n"
            f"      key_file: {self.key}\n"
            f"      client_ca_file: {self.ca}\n"
            "model_providers: [{model: openai/gpt-4o, access_key: k}]\n"
            f"overrides: {{upstream_tls_ca_path: {self.ca}}}\n"
        )

    @property
    def plan(self) -> TlsPlan:
        return TlsPlan(str(self.chain), str(self.key), str(self.ca))


def serve_with(plan: TlsPlan) -> float:
    return load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), plan)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def issued(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("gateway.test")


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA, issued: trustme.LeafCert) -> Files:
    return Files(tmp_path, authority, issued)


def test_files_that_are_well_load(files: Files) -> None:
    assert load(files.config, {}).warnings == ()
    serve_with(files.plan)
    serve_with(replace(files.plan, client_ca_file=None))


def lock_key(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase"))
    files.key.write_bytes(locked)


def exchange_key(files: Files) -> None:
    trustme.CA().issue_cert("gateway.test").private_key_pem.write_to_path(files.key)


@pytest.mark.parametrize(
    ("break_it", "line", "key", "said"),
    [
        (lambda files: files.chain.unlink(), 6, "cert_file", "chain.pem does not exist"),
        (lambda files: files.key.unlink(), 7, "key_file", "key.pem does not exist"),
        (lambda files: files.ca.unlink(), 8, "client_ca_file", "ca.pem does not exist"),
        (lambda files: files.chain.write_text("hello"), 6, "cert_file", "chain.pem holds no certificate in PEM form"),
        (lambda files: files.key.write_text("hello"), 7, "key_file", "key.pem holds no private key in PEM form"),
        (lambda files: files.ca.write_text("hello"), 8, "client_ca_file", "ca.pem holds no certificate in PEM form"),
        (lambda files: files.chain.write_bytes(files.key.read_bytes()), 6, "cert_file", "holds no certificate"),
        (lambda files: files.key.write_bytes(files.chain.read_bytes()), 7, "key_file", "holds no private key"),
        (
            lambda files: files.chain.write_text(NONSENSE.format(label="CERTIFICATE")),
            6,
            "cert_file",
            "chain.pem holds a certificate that cannot be read",
        ),
        (
            lambda files: files.key.write_text(NONSENSE.format(label="PRIVATE KEY")),
            7,
            "key_file",
            "key.pem holds a private key that cannot be read",
        ),
        (
            lambda files: files.ca.write_text(NONSENSE.format(label="CERTIFICATE")),
            8,
            "client_ca_file",
            "ca.pem holds a certificate that cannot be read",
        ),
        (lock_key, 7, "key_file", "key.pem is locked by a passphrase"),
        (exchange_key, 7, "key_file", "key.pem is not the key of the certificate in"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_place_in_the_config(
    files: Files, break_it: Callable[[Files], object], line: int, key: str, said: str
) -> None:
    secret = files.key.read_text().splitlines()[1]
    break_it(files)
    with pytest.raises(ConfigError) as caught:
        load(files.config, {})
    problem = next(each for each in caught.value.problems if each.path.startswith("listeners"))
    assert (problem.line, problem.path) == (line, f"listeners[0].tls.{key}")
    assert said in problem.message
    assert secret not in str(caught.value)
    with pytest.raises(CertificateError, match="pem"):
        serve_with(files.plan)


def test_a_folder_is_no_file(files: Files) -> None:
    for plan in (replace(files.plan, cert_file=str(files.folder)), replace(files.plan, key_file="a\0b")):
        with pytest.raises(CertificateError, match="cannot be read"):
            serve_with(plan)


def test_authorities_of_upstreams_are_looked_at_too(files: Files) -> None:
    files.ca.write_text("hello")
    with pytest.raises(ConfigError) as caught:
        load(files.config, {})
    problem = caught.value.problems[-1]
    assert (problem.line, problem.path) == (10, "overrides.upstream_tls_ca_path")
    assert "ca.pem holds no certificate in PEM form" in problem.message


def test_a_certificate_that_has_ended_is_a_warning(tmp_path: Path, authority: trustme.CA) -> None:
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    ended = authority.issue_cert("gateway.test", not_before=past, not_after=past + datetime.timedelta(days=1))
    files = Files(tmp_path, authority, ended)
    (warning,) = load(files.config, {}).warnings
    assert (warning.line, warning.path) == (6, "listeners[0].tls.cert_file")
    assert "ended at 2001-01-02T00:00:00+00:00" in warning.message


@pytest.mark.parametrize("year", [2049, 2050, 2300])  # RFC 5280: from 2050 on the year has four digits
def test_the_end_is_that_of_the_first_in_the_chain_to_end(tmp_path: Path, authority: trustme.CA, year: int) -> None:
    end = datetime.datetime(year, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)
    files = Files(tmp_path, authority, authority.issue_cert("gateway.test", not_after=end))
    assert serve_with(files.plan) == end.timestamp()
    with files.chain.open("ab") as chain:
        chain.write(authority.cert_pem.bytes())
    first = min(cert.not_valid_after_utc for cert in x509.load_pem_x509_certificates(files.chain.read_bytes()))
    assert serve_with(files.plan) == first.timestamp()
