"""Routing preferences: kinds of tasks and the models for them, as a request may bring its own. Pure."""

from __future__ import annotations

from typing import Any, Final, Literal

from plano.config.plan import PreferencePlan
from plano.dialects.conversation import BadRequest
from plano.inference.calls import MAX_ROUTES

FIELD: Final = "routing_preferences"
# Metadata of older clients that named a preference config; nobody upstream knows them (spec D1).
LEGACY_METADATA: Final = ("archgw_preference_config", "plano_preference_config")

_Policy = Literal["none", "cheapest", "fastest"]
_POLICIES: Final[tuple[_Policy, ...]] = ("none", "cheapest", "fastest")
_MAX_NAME: Final = 256
_MAX_MODELS: Final = 64


def take_preferences(body: dict[str, Any]) -> tuple[PreferencePlan, ...] | None:
    """Remove what the gateway alone understands from a request, and answer its own preferences; None if it brings none.

    The shape is that of the config: `[{name, description, models, selection_policy?: {prefer}}]`. Raises BadRequest.
    """
    metadata = body.get("metadata")
    if type(metadata) is dict:
        for key in LEGACY_METADATA:
            metadata.pop(key, None)
    if FIELD not in body:
        return None
    given = body.pop(FIELD)
    if given is None:
        return None
    if type(given) is not list:
        raise BadRequest(f"'{FIELD}' must be an array.", FIELD)
    if len(given) > MAX_ROUTES:
        raise BadRequest(f"'{FIELD}' holds more than {MAX_ROUTES} entries.", FIELD)
    preferences = tuple(_parse(item, f"{FIELD}[{index}]") for index, item in enumerate(given))
    names = [preference.name for preference in preferences]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BadRequest(f"Two of '{FIELD}' have the name '{name}'.", f"{FIELD}[{index}].name")
    return preferences


def brings_preferences(body: dict[str, Any]) -> bool:
    """Is there anything in the request for `take_preferences` to remove?"""
    if FIELD in body:
        return True
    metadata = body.get("metadata")
    return type(metadata) is dict and any(key in metadata for key in LEGACY_METADATA)


def _parse(item: Any, where: str) -> PreferencePlan:
    if type(item) is not dict:
        raise BadRequest(f"'{where}' must be an object.", where)
    name, description, models = item.get("name"), item.get("description"), item.get("models")
    if type(name) is not str or not 0 < len(name) <= _MAX_NAME:
        raise BadRequest(f"'{where}.name' must be a string of 1 to {_MAX_NAME} characters.", f"{where}.name")
    if type(description) is not str:
        raise BadRequest(f"'{where}.description' must be a string.", f"{where}.description")
    if (
        type(models) is not list
        or not 0 < len(models) <= _MAX_MODELS
        or not all(type(model) is str and model for model in models)
    ):
        raise BadRequest(f"'{where}.models' must be an array of 1 to {_MAX_MODELS} model names.", f"{where}.models")
    return PreferencePlan(name, description, tuple(models), _parse_policy(item, f"{where}.selection_policy"))


def _parse_policy(item: dict[str, Any], where: str) -> _Policy:
    policy = item.get("selection_policy")
    if policy is None:
        return "none"
    prefer = policy.get("prefer") if type(policy) is dict else None
    for known in _POLICIES:
        if prefer == known:
            return known
    raise BadRequest(f"'{where}' must be an object whose 'prefer' is cheapest, fastest or none.", where)
