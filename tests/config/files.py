"""Plano files for tests: a small valid one, and ways to load changed copies of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from plano.config.compiling import compile_plan
from plano.config.loading import LoadedConfig, parse
from plano.config.plan import ClusterPlan, ProviderPlan
from plano.config.problems import ConfigError, Problem
from plano.config.settings import load_settings

SMALL: dict[str, Any] = {
    "version": "v0.4.0",
    "listeners": [{"name": "llm", "type": "model", "port": 12000}],
    "model_providers": [{"model": "openai/gpt-4o", "access_key": "k", "default": True}],
}


def small(**changes: Any) -> dict[str, Any]:
    """The small file with other or further top-level keys; a key given as None is left out."""
    data = {**copy.deepcopy(SMALL), **changes}
    return {key: value for key, value in data.items() if value is not None}


def with_provider(**keys: Any) -> dict[str, Any]:
    """The small file with a second provider."""
    return small(model_providers=[*SMALL["model_providers"], keys])


def load_data(data: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> LoadedConfig:
    return parse(yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True), variables or {})


def refuse(data: Mapping[str, Any] | str, variables: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    """The problems of a file that must not load."""
    with pytest.raises(ConfigError) as caught:
        parse(data, variables or {}) if isinstance(data, str) else load_data(data, variables)
    assert caught.value.problems
    return caught.value.problems


def plan(data: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> ClusterPlan:
    return compile_plan(load_data(data, variables).config, load_settings())


def plan_provider(**keys: Any) -> ProviderPlan:
    """The plan of a single provider with these keys."""
    return plan(small(model_providers=[keys])).providers[0]
