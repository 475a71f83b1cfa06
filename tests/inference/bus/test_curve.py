"""Keys: who has the right ones is served, nobody else, and the server goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from plano.config.plan import CurvePlan
from plano.inference.client import InferenceClient
from plano.inference.server import BindRefused, EngineSlot, InferenceServer
from plano.inference.wire import Status
from tests.inference.bus.ends import Ends, InstantEngine, until


def make_pair(**more: object) -> CurvePlan:
    public, secret = zmq.curve_keypair()
    return CurvePlan(public.decode(), secret.decode(), **more)  # type: ignore[arg-type]


SERVER = make_pair()
CALLER = make_pair(server_public_key=SERVER.public_key)
STRANGER = make_pair(server_public_key=SERVER.public_key)
ANYWHERE = ("tcp://127.0.0.1:*",)


async def test_who_knows_the_servers_key_is_served(ends: Ends) -> None:
    server = await ends.serve(InstantEngine(), addresses=ANYWHERE, curve=SERVER)
    asker = ends.connect(addresses=server.addresses, curve=CALLER)
    assert (await asker.ask()).status is Status.OK


async def test_with_keys_an_address_others_can_reach_may_be_bound(ends: Ends) -> None:
    server = await ends.serve(InstantEngine(), addresses=("tcp://0.0.0.0:*",), curve=SERVER)
    address = server.addresses[0].replace("0.0.0.0", "127.0.0.1")
    assert (await ends.connect(addresses=(address,), curve=CALLER).ask()).status is Status.OK


async def test_only_admitted_callers_are_served(ends: Ends) -> None:
    curve = replace(SERVER, client_public_keys=(CALLER.public_key,))
    server = await ends.serve(InstantEngine(), addresses=ANYWHERE, curve=curve)
    stranger = ends.connect(addresses=server.addresses, curve=STRANGER, connect_s=0.3)
    refused = await stranger.ask()
    assert refused.status is Status.UNAVAILABLE
    await until(lambda: server.figures()["refused_peers"] >= 1)
    assert (await ends.connect(addresses=server.addresses, curve=CALLER).ask()).status is Status.OK


@pytest.mark.parametrize("curve", [None, replace(CALLER, server_public_key=STRANGER.public_key)], ids=["none", "wrong"])
async def test_without_the_servers_key_there_is_no_service(ends: Ends, curve: CurvePlan | None) -> None:
    server = await ends.serve(InstantEngine(), addresses=ANYWHERE, curve=SERVER)
    without = ends.connect(addresses=server.addresses, curve=curve, connect_s=0.3)
    outcome = await without.ask()
    assert outcome.status is Status.UNAVAILABLE
    await until(lambda: server.figures()["refused_peers"] >= 1)
    assert (await ends.connect(addresses=server.addresses, curve=CALLER).ask()).status is Status.OK


async def test_a_caller_with_keys_does_not_speak_to_a_server_without(ends: Ends) -> None:
    server = await ends.serve(InstantEngine(), addresses=ANYWHERE)
    asker = ends.connect(addresses=server.addresses, curve=CALLER, connect_s=0.3)
    assert (await asker.ask()).status is Status.UNAVAILABLE


async def test_sockets_in_the_file_system_need_no_keys(ends: Ends) -> None:
    await ends.serve(InstantEngine(), addresses=(ends.address(), *ANYWHERE), curve=SERVER)
    assert (await ends.connect().ask()).status is Status.OK


@pytest.mark.parametrize(
    "curve",
    [
        replace(SERVER, secret_key="short"),
        replace(SERVER, secret_key="~" * 40),
        replace(SERVER, public_key=STRANGER.public_key),
        replace(SERVER, client_public_keys=("\u00e4" * 40,)),
        replace(SERVER, client_public_keys=("#" * 40,)),
        replace(SERVER, secret_key="#" * 40),
    ],
    ids=["short", "not z85", "another pair", "not ascii", "too much for 32 bytes", "secret too much"],
)
async def test_keys_that_are_none_are_refused_by_the_server(folder: Path, curve: CurvePlan) -> None:
    server = InferenceServer({"guard": EngineSlot(InstantEngine)}, ANYWHERE, curve)
    with pytest.raises(BindRefused, match="CURVE") as caught:
        await server.start()
    assert curve.secret_key not in str(caught.value)


async def test_keys_that_are_none_are_refused_by_the_client() -> None:
    for curve in (
        replace(CALLER, secret_key="x"),
        replace(CALLER, server_public_key=None),
        replace(CALLER, secret_key="#" * 40),
    ):
        with pytest.raises(ValueError, match="key"):
            InferenceClient(("tcp://127.0.0.1:1",), curve)
