"""The configs of the examples: the file format of the original Plano and nothing else, and without a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from demos.stage import move_ports
from plano.config.compiling import compile_plan
from plano.config.loading import load
from plano.config.settings import Settings
from tests.demos.runs import NAMES, ROOT

# The keys of the original's file (its JSON schema, v0.4.0) that an example may use: {key: keys below it}, None for any
# value, one element in brackets for a list.
ENDPOINT = {"name": None, "path": None, "http_method": None, "http_headers": None}
PARAMETER = dict.fromkeys(("name", "description", "type", "required", "default", "enum", "in_path", "format"))
TARGET = dict.fromkeys(("name", "description", "default", "auto_llm_dispatch_on_response", "system_prompt"))
AGENT = dict.fromkeys(("id", "description", "default", "input_filters"))
ORIGINAL: dict[str, Any] = {
    "version": None,
    "agents": [{"id": None, "url": None}],
    "filters": [dict.fromkeys(("id", "url", "type", "transport", "tool"))],
    "endpoints": {"weather_api": dict.fromkeys(("endpoint", "connect_timeout", "protocol", "http_host"))},
    "system_prompt": None,
    "prompt_targets": [{**TARGET, "parameters": [PARAMETER], "endpoint": ENDPOINT}],
    "prompt_guards": {"input_guards": {"jailbreak": {"on_exception": {"message": None}}}},
    "model_providers": [dict.fromkeys(("model", "base_url", "access_key", "passthrough_auth", "default"))],
    "listeners": [
        {**dict.fromkeys(("type", "name", "address", "port", "router", "timeout")), "agents": [AGENT]},
    ],
}


def find_foreign(value: Any, known: Any, place: str = "") -> list[str]:
    """The keys that the original does not have."""
    if isinstance(known, dict) and isinstance(value, dict):
        foreign = [f"{place}.{key}" for key in value if key not in known]
        return foreign + [
            found
            for key, below in value.items()
            if key in known
            for found in find_foreign(below, known[key], f"{place}.{key}")
        ]
    if isinstance(known, list):
        return [found for item in value for found in find_foreign(item, known[0], f"{place}[]")]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_a_config_holds_nothing_but_keys_of_the_original(name: str) -> None:
    document = yaml.safe_load((ROOT / "demos" / name / "config.yaml").read_text(encoding="utf-8"))
    assert find_foreign(document, ORIGINAL) == []


def test_a_key_that_the_original_does_not_have_is_found() -> None:
    document = {"version": "v0.4.0", "inference": {}, "listeners": [{"name": "a", "agents": [{"on_failure": "skip"}]}]}
    assert find_foreign(document, ORIGINAL) == [".inference", ".listeners[].agents[].on_failure"]


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_good_and_needs_no_key(name: str) -> None:
    loaded = load(ROOT / "demos" / name / "config.yaml", {})
    assert loaded.warnings == ()
    plan = compile_plan(loaded.config, Settings())
    assert all(listener.address == "127.0.0.1" for listener in plan.listeners)


def test_the_ports_of_a_run_take_the_places_of_those_in_the_config(tmp_path: Path) -> None:
    moved = move_ports("port: 8001\nurl: http://h:12000/80011\n", {"a": 8001, "b": 12000}, {"a": 12000, "b": 5})
    assert moved == "port: 12000\nurl: http://h:5/80011\n"
