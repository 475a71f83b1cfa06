"""TLS towards upstreams, against real TLS servers."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from plano.config.plan import ClusterPlan, LimitsPlan
from plano.upstreams.candidate import Candidates
from plano.upstreams.failures import Failure, FailureKind
from plano.upstreams.tls import SessionReusingContext, client_context
from tests.upstreams.origin import OK, Origin, Visit, answer_ok, call
from tests.upstreams.plans import provider

NAME = "api.example.test"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_path(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def trusting(ca_path: str) -> SessionReusingContext:
    return client_context(ca_path)


@pytest.fixture
def serving(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    def make(*names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(names or (NAME,))).configure_cert(context)
        return context

    return make


class TlsLog:
    """Answers requests, and keeps what the server knows of each handshake."""

    def __init__(self) -> None:
        self.reused: list[bool] = []
        self.versions: list[str] = []
        self.protocols: list[str | None] = []

    async def serve(self, visit: Visit) -> None:
        tls = visit.writer.get_extra_info("ssl_object")
        self.reused.append(tls.session_reused)
        self.versions.append(tls.version())
        self.protocols.append(tls.selected_alpn_protocol())
        await visit.request()
        visit.send(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))


async def refusal(origin: Origin, tls: SessionReusingContext, server_name: str = NAME) -> Failure:
    """The failure of a call that must not come about."""
    caller = await call(origin.pool(tls=tls, server_name=server_name))
    assert caller.told == ["failed"]
    assert caller.failure is not None
    assert caller.failure.kind is FailureKind.CONNECT
    return caller.failure


async def test_an_answer_comes_over_tls(
    serving: Callable[..., ssl.SSLContext], trusting: SessionReusingContext
) -> None:
    log = TlsLog()
    context = serving()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with Origin(log.serve, tls=context) as origin:
        assert (await call(origin.pool(tls=trusting, server_name=NAME))).body == b"ok"
    assert log.versions == ["TLSv1.3"]
    assert log.protocols == ["http/1.1"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_next_connection_goes_on_with_the_session(
    serving: Callable[..., ssl.SSLContext], trusting: SessionReusingContext, version: ssl.TLSVersion
) -> None:
    log = TlsLog()
    context = serving()
    context.maximum_version = version
    async with Origin(log.serve, tls=context) as origin:
        pool = origin.pool(tls=trusting, server_name=NAME)
        for _ in range(4):
            assert (await call(pool)).body == b"ok"
    assert log.reused == [False, True, True, True]


async def test_a_session_belongs_to_one_name(
    serving: Callable[..., ssl.SSLContext], trusting: SessionReusingContext
) -> None:
    log = TlsLog()
    async with Origin(log.serve, tls=serving(NAME, "other.example.test")) as origin:
        for name in (NAME, "other.example.test", NAME):
            assert (await call(origin.pool(tls=trusting, server_name=name))).body == b"ok"
    assert log.reused == [False, False, True]


async def test_a_session_the_server_has_forgotten_does_no_harm(
    serving: Callable[..., ssl.SSLContext], trusting: SessionReusingContext
) -> None:
    log = TlsLog()
    for _ in range(2):  # a new context: new ticket keys
        async with Origin(log.serve, tls=serving()) as origin:
            assert (await call(origin.pool(tls=trusting, server_name=NAME))).body == b"ok"
    assert log.reused == [False, False]


async def test_a_certificate_for_another_host_is_refused(
    serving: Callable[..., ssl.SSLContext], trusting: SessionReusingContext
) -> None:
    async with Origin(answer_ok, tls=serving("other.example.test")) as origin:
        failure = await refusal(origin, trusting)
    assert failure.message.startswith("certificate refused: Hostname mismatch")


async def test_an_unknown_authority_is_refused(serving: Callable[..., ssl.SSLContext], tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    async with Origin(answer_ok, tls=serving()) as origin:
        failure = await refusal(origin, client_context(str(stranger)))
        assert "certificate refused: " in failure.message
        assert "issuer" in failure.message or "self-signed" in failure.message
        await refusal(origin, client_context(None))  # nor do the system's authorities know it


async def test_an_expired_certificate_is_refused(authority: trustme.CA, trusting: SessionReusingContext) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    authority.issue_cert(NAME, not_before=past, not_after=past + datetime.timedelta(days=1)).configure_cert(context)
    async with Origin(answer_ok, tls=context) as origin:
        failure = await refusal(origin, trusting)
    assert failure.message == "certificate refused: certificate has expired"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_refused(serving: Callable[..., ssl.SSLContext], ca_path: str) -> None:
    context = serving()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    careless = SessionReusingContext()
    careless.load_verify_locations(ca_path)
    careless.set_ciphers("ALL:@SECLEVEL=0")
    careless.minimum_version = ssl.TLSVersion.TLSv1
    strict = client_context(ca_path)
    strict.set_ciphers("ALL:@SECLEVEL=0")  # whatever the ciphers of this machine are: the version is what is refused
    async with Origin(answer_ok, tls=context) as origin:
        if (await call(origin.pool(tls=careless, server_name=NAME))).body != b"ok":
            pytest.skip("the TLS library of this machine does not speak TLS 1.1")
        await refusal(origin, strict)


async def test_an_upstream_that_speaks_no_tls_is_a_failure(trusting: SessionReusingContext) -> None:
    async def speak_plainly(visit: Visit) -> None:
        visit.send(OK)
        await visit.request()

    async with Origin(speak_plainly) as origin:
        await refusal(origin, trusting)


@pytest.mark.parametrize("name", [".example.test", "a" * 300, "a..b"])
async def test_a_name_that_tls_cannot_ask_for_is_a_failure(
    serving: Callable[..., ssl.SSLContext], trusting: SessionReusingContext, name: str
) -> None:
    async with Origin(answer_ok, tls=serving()) as origin:
        await refusal(origin, trusting, name)


def test_an_authority_file_must_be_there_and_be_pem(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        client_context(str(tmp_path / "missing.pem"))
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    with pytest.raises(ssl.SSLError):
        client_context(str(broken))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def asked_names(serving: Callable[..., ssl.SSLContext]) -> tuple[list[str | None], ssl.SSLContext]:
    names: list[str | None] = []
    context = serving(NAME, "127.0.0.1", "::1")
    context.sni_callback = lambda _, name, __: names.append(name)
    return names, context


@pytest.mark.parametrize(
    ("host", "authority_header", "asked"),
    [
        ("127.0.0.1", NAME, NAME),  # http_host
        ("127.0.0.1", f"{NAME}:8443", NAME),
        ("127.0.0.1", ":8443", None),
        ("127.0.0.1", "127.0.0.1", None),  # RFC 6066: no SNI for addresses; the certificate is checked for them
        ("::1", "[::1]:8443", None),
        ("::1", "[::1]", None),
    ],
)
async def test_the_name_asked_for_is_that_of_the_host_header(
    asked_names: tuple[list[str | None], ssl.SSLContext], ca_path: str, host: str, authority_header: str, asked: str
) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    names, context = asked_names
    async with Origin(answer_ok, host=host, tls=context) as origin:
        plan = provider("acme/x", scheme="https", host=host, port=origin.port, authority=authority_header)
        limits = replace(LimitsPlan(), upstream_keepalive_s=1.0)
        candidates = Candidates(ClusterPlan((), (plan,), {}, (), tls_ca_path=ca_path, limits=limits))
        pool = candidates.chain("acme/x", "chat")[0].pool
        caller = await asyncio.wait_for(call(pool), 10)
        assert (caller.failure, caller.body) == (None, b"ok")
        await pool.close()
    assert names == [asked]
