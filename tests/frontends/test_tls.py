"""Listeners that speak TLS: everything plain ones do, for clients that may, with certificates that change."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import trustme

from plano.config.plan import LimitsPlan, TlsPlan
from tests.frontends.client import Client, Response, chat_request, render_request
from tests.frontends.conftest import Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.tls_client import NAME, CertificateFiles, TlsClient
from tests.frontends.upstream import (
    DONE,
    FINISH,
    HANG,
    LAST_CHUNK,
    STREAM_HEAD,
    Upstream,
    Wait,
    chunk,
    document,
    say,
    stream,
)

ServeTls = Callable[..., FrontendProcess]
Open = Callable[..., Awaitable[TlsClient]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path, authority)


@pytest.fixture
def serve_tls(serve: Serve, upstream: Upstream, files: CertificateFiles) -> ServeTls:
    """Starts a frontend with `test/one` whose listener speaks TLS."""

    def start(tls: TlsPlan | None = None, limits: LimitsPlan | None = None) -> FrontendProcess:
        plan = make_plan(make_provider(upstream.port, retry=NO_RETRY), limits=limits)
        listener = replace(plan.listeners[0], tls=tls or files.plan())
        return serve(replace(plan, listeners=(listener,)))

    return start


@pytest.fixture
async def open_tls(files: CertificateFiles) -> AsyncIterator[Open]:
    """Opens connections over TLS; they close with the test."""
    opened: list[TlsClient] = []

    async def connect(frontend: FrontendProcess, context: ssl.SSLContext | None = None, **options: Any) -> TlsClient:
        opened.append(await TlsClient.open(frontend.port, context or files.trusting(), **options))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


async def ask(client: Client) -> Response:
    await client.send(chat_request())
    return await client.read_response()


# -- what plain listeners do


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_requests_are_answered_one_after_the_other(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles, version: ssl.TLSVersion
) -> None:
    context = files.trusting()
    context.minimum_version = context.maximum_version = version
    client = await open_tls(serve_tls(), context)
    assert client.tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert client.tls.selected_alpn_protocol() == "http/1.1"
    for _ in range(3):
        answer = await ask(client)
        assert (answer.status, answer.header("connection")) == (200, None)


async def test_pipelined_requests_are_answered_in_their_order(
    serve_tls: ServeTls, open_tls: Open, upstream: Upstream
) -> None:
    client = await open_tls(serve_tls())
    for text in ("a", "b", "c"):
        upstream.script(document(text))
    await client.send(chat_request() * 3)
    answers = [await client.read_response() for _ in range(3)]
    assert [answer.json["choices"][0]["message"]["content"] for answer in answers] == ["a", "b", "c"]


async def test_events_come_as_they_are_made(serve_tls: ServeTls, open_tls: Open, upstream: Upstream) -> None:
    client, go_on = await open_tls(serve_tls()), asyncio.Event()
    upstream.script(STREAM_HEAD, chunk(say("a")), Wait(go_on), chunk(say("b") + FINISH + DONE), LAST_CHUNK)
    await client.send(chat_request(stream=True))
    await client.read_until(say("a"))
    go_on.set()
    await client.read_until(say("b") + FINISH + DONE)
    await client.read_until(LAST_CHUNK)
    upstream.script(*stream("again"))
    await client.send(chat_request(stream=True))
    assert (await client.read_response()).text == "again"


async def test_large_requests_and_answers_pass_whole(serve_tls: ServeTls, open_tls: Open, upstream: Upstream) -> None:
    client = await open_tls(serve_tls())
    upstream.script(document("y" * 3_000_000))
    await client.send(chat_request(padding="x" * 3_000_000))
    answer = await client.read_response()
    assert answer.json["choices"][0]["message"]["content"] == "y" * 3_000_000
    assert upstream.received[0].json["padding"] == "x" * 3_000_000


async def test_a_client_sets_the_pace_of_its_upstream(serve_tls: ServeTls, open_tls: Open, upstream: Upstream) -> None:
    frontend, event, count = serve_tls(), say("x" * 50_000), 1_000
    client = await open_tls(frontend, receive_buffer_bytes=16_384)
    await ask(client)
    before = frontend.rss_bytes()
    upstream.script(STREAM_HEAD, *[chunk(event)] * count, chunk(FINISH + DONE), LAST_CHUNK)
    await client.send(chat_request(stream=True))
    head = await client.read_head()
    await upstream.links[0].wait_paused()
    assert frontend.rss_bytes() - before < 8 * 1024 * 1024
    answer = await client.read_body(*head)
    assert answer.complete
    assert answer.body == event * count + FINISH + DONE


async def test_a_client_that_says_goodbye_or_leaves_cancels_its_upstream(
    serve_tls: ServeTls, open_tls: Open, upstream: Upstream, records: RecordSocket
) -> None:
    frontend = serve_tls()
    for count, farewell in enumerate((TlsClient.say_goodbye, TlsClient.stop_sending, TlsClient.close), 1):
        client = await open_tls(frontend)
        upstream.script(HANG)
        await client.send(chat_request())
        await upstream.wait_received(count)
        told = farewell(client)
        if told is not None:
            await told
        await upstream.wait_closed()
        assert (await records.read(count))[-1].status == 499


async def test_a_refused_client_that_goes_on_sending_still_reads_why(serve_tls: ServeTls, open_tls: Open) -> None:
    client = await open_tls(serve_tls(limits=LimitsPlan(max_body_bytes=1_000)))
    body = b"x" * 2_000_000
    sending = asyncio.ensure_future(client.send(render_request(body)))
    answer = await client.read_response()
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert await client.closed()
    assert client.closed_properly
    await asyncio.gather(sending, return_exceptions=True)


async def test_an_idle_connection_is_closed_properly(serve_tls: ServeTls, open_tls: Open) -> None:
    client = await open_tls(serve_tls(limits=LimitsPlan(keepalive_timeout_s=0.2)))
    await ask(client)
    assert await client.closed()
    assert client.closed_properly


async def test_the_openai_sdk_speaks_to_it(serve_tls: ServeTls, files: CertificateFiles, upstream: Upstream) -> None:
    frontend = serve_tls()
    async with openai.AsyncOpenAI(
        api_key="k",
        base_url=f"https://127.0.0.1:{frontend.port}/v1",
        http_client=openai.DefaultAsyncHttpxClient(verify=files.trusting(), trust_env=False),
        max_retries=0,
    ) as sdk:
        answer = await sdk.chat.completions.create(model="test/one", messages=[{"role": "user", "content": "Hi."}])
        assert answer.choices[0].message.content == "Hello."
        upstream.script(*stream("a", "b"))
        events = await sdk.chat.completions.create(
            model="test/one", messages=[{"role": "user", "content": "Hi."}], stream=True
        )
        assert "".join([event.choices[0].delta.content or "" async for event in events if event.choices]) == "ab"


# -- who is let in


async def test_a_client_without_tls_is_told_so_and_disturbs_nobody(
    serve_tls: ServeTls, open_tls: Open, upstream: Upstream
) -> None:
    frontend = serve_tls()
    served = await open_tls(frontend)
    plain = await Client.connect(frontend.port)
    await plain.send(chat_request())
    answer = await plain.read_response()
    assert (answer.status, answer.header("connection")) == (400, "close")
    assert b"https://" in answer.body
    assert not upstream.received
    plain.close()
    assert (await ask(served)).status == 200
    assert (await ask(await open_tls(frontend))).status == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("least", "spoken"),
    [("1.2", ssl.TLSVersion.TLSv1), ("1.2", ssl.TLSVersion.TLSv1_1), ("1.3", ssl.TLSVersion.TLSv1_2)],
)
async def test_a_version_that_is_too_old_is_refused(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles, least: str, spoken: ssl.TLSVersion
) -> None:
    context = files.trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = spoken
    frontend = serve_tls(files.plan(min_version=least))
    with pytest.raises(ssl.SSLError, match=r"(?i)version"):
        await open_tls(frontend, context)
    assert (await ask(await open_tls(frontend))).status == 200


async def test_a_cipher_without_forward_secrecy_is_refused(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles
) -> None:
    context = files.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-GCM-SHA384:ECDHE+AES+SHA")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake"):
        await open_tls(serve_tls(), context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_mutual_tls_serves_only_clients_of_the_authority(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    admitting = trustme.CA()
    admitting.cert_pem.write_to_path(tmp_path / "clients.pem")
    frontend = serve_tls(files.plan(client_ca_file=str(tmp_path / "clients.pem")))

    def identify(issuer: trustme.CA | None) -> ssl.SSLContext:
        context = files.trusting()
        context.maximum_version = version
        if issuer is not None:
            issuer.issue_cert("client@example.test").configure_cert(context)
        return context

    assert (await ask(await open_tls(frontend, identify(admitting)))).status == 200
    for issuer in (None, trustme.CA(), files.authority):
        with pytest.raises(ssl.SSLError, match=r"(?i)alert|certificate"):
            await ask(await open_tls(frontend, identify(issuer)))  # in TLS 1.3 a client is told with the first answer
    assert (await ask(await open_tls(frontend, identify(admitting)))).status == 200


async def test_a_handshake_that_never_comes_is_not_waited_for(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles
) -> None:
    frontend = serve_tls(limits=LimitsPlan(header_timeout_s=0.3))
    silent = await Client.connect(frontend.port)
    halfway = await open_tls(frontend, handshake=False)
    await halfway.begin_handshake()
    served = await open_tls(frontend)
    assert await silent.closed()
    await halfway.wait_cut()
    silent.close()
    assert (await ask(served)).status == 200


# -- certificates that change


async def served_certificate(open_tls: Open, frontend: FrontendProcess) -> bytes:
    client = await open_tls(frontend)
    assert (await ask(client)).status == 200
    certificate = client.tls.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


async def wait_served(open_tls: Open, frontend: FrontendProcess, certificate: bytes) -> None:
    limit_s = time.monotonic() + 10
    while await served_certificate(open_tls, frontend) != certificate:
        assert time.monotonic() < limit_s, "the new certificate is not served"
        await asyncio.sleep(0.1)


async def wait_refused(records: RecordSocket, refused: bool) -> None:
    """Return when the frontend says whether it had to refuse newer files."""
    limit_s = time.monotonic() + 10
    while records.state is None or records.state.certificates["llm"][1] is not refused:
        assert time.monotonic() < limit_s, records.state
        records.receive()
        await asyncio.sleep(0.02)


async def test_a_new_certificate_is_served_to_new_connections(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles
) -> None:
    frontend = serve_tls()
    old = await open_tls(frontend)
    before = await served_certificate(open_tls, frontend)
    renewed = files.renew()
    assert renewed != before
    await wait_served(open_tls, frontend, renewed)
    assert (await ask(old)).status == 200


async def test_files_that_cannot_be_used_leave_the_old_certificate_in_place(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles, records: RecordSocket
) -> None:
    frontend = serve_tls()
    before = await served_certificate(open_tls, frontend)
    await wait_refused(records, False)
    key = files.key.read_bytes()
    files.renew()
    files.write(files.key, key)  # the key of another certificate
    await wait_refused(records, True)
    assert await served_certificate(open_tls, frontend) == before
    files.chain.unlink()
    assert await served_certificate(open_tls, frontend) == before
    renewed = files.renew()
    await wait_served(open_tls, frontend, renewed)
    await wait_refused(records, False)


async def test_the_end_of_the_certificate_is_told(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles, records: RecordSocket
) -> None:
    client = await open_tls(serve_tls())
    await wait_refused(records, False)
    certificate = client.tls.getpeercert()
    assert certificate is not None
    assert records.state is not None
    assert records.state.certificates["llm"][0] == ssl.cert_time_to_seconds(str(certificate["notAfter"]))


async def test_authorities_of_clients_are_read_again_too(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles, tmp_path: Path
) -> None:
    first, second = trustme.CA(), trustme.CA()
    accepted = tmp_path / "clients.pem"
    files.write(accepted, first.cert_pem.bytes())
    frontend = serve_tls(files.plan(client_ca_file=str(accepted)))
    old, new = files.trusting(), files.trusting()
    first.issue_cert("a@example.test").configure_cert(old)
    second.issue_cert("b@example.test").configure_cert(new)
    assert (await ask(await open_tls(frontend, old))).status == 200
    files.write(accepted, second.cert_pem.bytes())
    limit_s = time.monotonic() + 10
    while True:
        try:
            assert (await ask(await open_tls(frontend, new))).status == 200
            break
        except ssl.SSLError:
            assert time.monotonic() < limit_s
            await asyncio.sleep(0.1)
    with pytest.raises(ssl.SSLError):
        await ask(await open_tls(frontend, old))


# -- draining


async def test_a_drain_finishes_requests_and_handshakes_and_closes_the_rest(
    serve_tls: ServeTls, open_tls: Open, upstream: Upstream, records: RecordSocket
) -> None:
    frontend, go_on = serve_tls(), asyncio.Event()
    busy, idle, late = await open_tls(frontend), await open_tls(frontend), await open_tls(frontend, handshake=False)
    await late.begin_handshake()
    upstream.script(Wait(go_on), document("late"))
    await busy.send(chat_request())
    await upstream.wait_received()
    frontend.drain(20)
    assert await idle.closed()  # it reads, and so confirms
    await late.shake_hands()
    answer = await ask(late)
    assert (answer.status, answer.header("connection")) == (200, "close")
    go_on.set()
    answer = await busy.read_response()
    assert (answer.status, answer.header("connection")) == (200, "close")
    for client in (idle, late, busy):
        assert await client.closed()
        assert client.closed_properly
        client.close()
    await frontend.wait_ended()
    assert [record.status for record in await records.read(2)] == [200, 200]


async def test_idle_clients_that_do_not_read_do_not_hold_up_a_drain(serve_tls: ServeTls, open_tls: Open) -> None:
    frontend = serve_tls()
    for _ in range(3):
        await ask(await open_tls(frontend))
    began_s = time.monotonic()
    frontend.drain(30)
    await frontend.wait_ended()
    assert time.monotonic() - began_s < 8


async def test_a_server_name_nobody_asked_for_is_served_alike(
    serve_tls: ServeTls, open_tls: Open, files: CertificateFiles
) -> None:
    context = files.trusting()
    context.check_hostname = False
    frontend = serve_tls()
    client = await open_tls(frontend, context, handshake=False)
    client.tls = context.wrap_bio(client._incoming, client._outgoing)  # without SNI
    await client.shake_hands()
    assert (await ask(client)).status == 200
    assert NAME in str(client.tls.getpeercert())
