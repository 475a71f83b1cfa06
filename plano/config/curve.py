"""CurveZMQ keys between frontends and inference processes: from the file and the settings to what each side needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, WithJsonSchema

from plano.config.addresses import is_on_this_machine
from plano.config.keys import check_key
from plano.config.plan import CurvePlan
from plano.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from plano.config.schema.inference import Curve
    from plano.config.settings import Settings

ADVICE = "run `plano-cluster keys`, which makes the keys and says where they go"

Key = Annotated[str, AfterValidator(check_key), WithJsonSchema({"type": "string", "minLength": 40, "maxLength": 40})]
"""A CURVE key."""


def compile_client_curve(section: Curve | None, settings: Settings, addresses: tuple[str, ...]) -> CurvePlan | None:
    """The frontends' keys; None where there are none, and only this machine is spoken to.

    A pair of their own is made up where none is given: it matters only to inference processes that admit known ones.
    Raises ConfigError when an address needs keys that are not there.
    """
    server = settings.inference_server_public_key or (section.server_public_key if section else None)
    if server is not None:
        public, secret = _read_pair(section, settings) or _make_pair()
        return CurvePlan(public, secret, server_public_key=server)
    for address in addresses:
        if not is_on_this_machine(address):
            message = (
                f"{address} is not on this machine, and there is no public key of the inference process to encrypt with"
            )
            raise ConfigError([Problem("config", None, "inference.curve.server_public_key", message, ADVICE)])
    return None


def compile_server_curve(section: Curve | None, settings: Settings, bind: str) -> CurvePlan | None:
    """The keys of an inference process that is bound to this address; None where it needs and has none.

    Raises ConfigError when the address is open to other machines and there is no secret key.
    """
    pair = _read_pair(section, settings)
    if pair is not None:
        given = settings.inference_client_public_keys or (section.client_public_keys if section else None) or ()
        return CurvePlan(*pair, client_public_keys=tuple(given))
    if not is_on_this_machine(bind):
        message = f"{bind} is open to other machines, and there is no key to encrypt with"
        hint = f"{ADVICE}, or bind to tcp://127.0.0.1"
        raise ConfigError([Problem("config", None, "inference.curve.secret_key", message, hint)])
    return None


def make_keys() -> tuple[str, str]:
    """A new (public, secret) pair as Z85, without a `$`, which shells and config files would take for a variable."""
    while True:
        pair = _make_pair()
        if "$" not in "".join(pair):
            return pair


def _read_pair(section: Curve | None, settings: Settings) -> tuple[str, str] | None:
    secret = settings.inference_secret_key or (section.secret_key if section else None)
    if secret is None:
        return None
    import zmq

    public: str = zmq.curve_public(secret.encode()).decode()
    # A public key of the file goes with the secret of the file, not with one that a setting puts in its place.
    given = settings.inference_public_key or (
        section.public_key if section and settings.inference_secret_key is None else None
    )
    if given is not None and given != public:
        message = "is not the public key of the secret key beside it"
        raise ConfigError([Problem("config", None, "inference.curve.public_key", message, "leave it out")])
    return public, secret


def _make_pair() -> tuple[str, str]:
    import zmq

    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()
