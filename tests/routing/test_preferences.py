"""Preferences that a request brings along: read like those of the config, and never passed on."""

from __future__ import annotations

from typing import Any

import pytest

from plano.config.plan import PreferencePlan
from plano.dialects.conversation import BadRequest
from plano.routing.preferences import brings_preferences, take_preferences

CODE = {"name": "code", "description": "writing programs", "models": ["a/one", "a/two"]}


def test_they_are_taken_out_of_the_request() -> None:
    body: dict[str, Any] = {"messages": [], "routing_preferences": [CODE]}
    assert take_preferences(body) == (PreferencePlan("code", "writing programs", ("a/one", "a/two")),)
    assert body == {"messages": []}


def test_a_request_without_any_brings_none() -> None:
    assert take_preferences({"messages": []}) is None
    assert take_preferences({"routing_preferences": None}) is None


def test_an_empty_list_replaces_the_configured_ones() -> None:
    assert take_preferences({"routing_preferences": []}) == ()


@pytest.mark.parametrize("prefer", ["none", "cheapest", "fastest"])
def test_the_policy_is_kept(prefer: str) -> None:
    preferences = take_preferences({"routing_preferences": [{**CODE, "selection_policy": {"prefer": prefer}}]})
    assert preferences is not None
    assert preferences[0].prefer == prefer


def test_metadata_of_older_clients_goes_too() -> None:
    body: dict[str, Any] = {"metadata": {"archgw_preference_config": "x", "plano_preference_config": "y", "user": "u"}}
    assert brings_preferences(body)
    assert take_preferences(body) is None
    assert body == {"metadata": {"user": "u"}}
    assert not brings_preferences(body)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("code", "routing_preferences"),
        ({"name": "code"}, "routing_preferences"),
        ([CODE] * 1001, "routing_preferences"),
        (["code"], "routing_preferences[0]"),
        ([CODE, {**CODE, "name": ""}], "routing_preferences[1].name"),
        ([{**CODE, "name": "n" * 257}], "routing_preferences[0].name"),
        ([{**CODE, "name": 7}], "routing_preferences[0].name"),
        ([CODE, CODE], "routing_preferences[1].name"),
        ([{**CODE, "description": None}], "routing_preferences[0].description"),
        ([{**CODE, "models": []}], "routing_preferences[0].models"),
        ([{**CODE, "models": "a/one"}], "routing_preferences[0].models"),
        ([{**CODE, "models": ["a/one", ""]}], "routing_preferences[0].models"),
        ([{**CODE, "models": ["m"] * 65}], "routing_preferences[0].models"),
        ([{**CODE, "selection_policy": "cheapest"}], "routing_preferences[0].selection_policy"),
        ([{**CODE, "selection_policy": {"prefer": "best"}}], "routing_preferences[0].selection_policy"),
        ([{**CODE, "selection_policy": {}}], "routing_preferences[0].selection_policy"),
    ],
)
def test_anything_else_is_refused_by_its_place(given: Any, param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        take_preferences({"routing_preferences": given})
    assert refused.value.param == param
