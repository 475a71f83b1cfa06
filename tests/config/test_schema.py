"""The JSON Schema: it documents every key, accepts what loads and refuses what does not."""

from __future__ import annotations

import copy
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from plano.config.schema import json_schema
from plano.config.schema.providers import ProviderInterface
from plano.config.schema.quantities import parse_duration, parse_size
from plano.upstreams.catalogue import catalogue
from tests.config import examples

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize("name", examples.ALL)
def test_schema_accepts_the_examples(name: str) -> None:
    VALIDATOR.validate(yaml.safe_load(examples.ALL[name]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "v9"),
        (("surprise",), 1),
        (("listeners",), None),
        (("listeners", 0, "type"), "modle"),
        (("listeners", 0, "port"), 0),
        (("listeners", 0, "timeout"), "soon"),
        (("listeners", 0, "surprise"), 1),
        (("model_providers", 0, "surprise"), 1),
        (("model_providers", 2, "base_url"), "ftp://x"),
        (("model_providers", 0, "retry_policy", "attempts"), 0),
        (("model_metrics_sources", 0, "type"), "speed"),
        (("routing", "routing_budget", "max_switch_spend_pct"), 101),
        (("tracing", "random_sampling"), -1),
        (("inference", "guard", "threshold"), 2),
    ],
)
def test_schema_refuses_bad_files(path: tuple[str | int, ...], value: Any) -> None:
    data = copy.deepcopy(yaml.safe_load(examples.EVERYTHING))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(data)


def test_every_key_has_a_description() -> None:
    schema = json_schema()
    models = {"the file": schema, **schema["$defs"]}
    bare = [f"{model}.{key}" for model, body in models.items() for key, value in body.get("properties", {}).items()
            if "description" not in value]  # fmt: skip
    assert bare == []
    assert sum(len(body.get("properties", {})) for body in models.values()) > 150


def test_an_unknown_provider_may_behave_like_any_known_one() -> None:
    assert get_args(ProviderInterface) == tuple(catalogue())


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("300s", 300.0),
        ("50ms", 0.05),
        ("0.005s", 0.005),
        ("1m", 60.0),
        ("2h", 7200.0),
        ("1m30s", 90.0),
        (" 5 ", 5.0),
        ("250us", 0.00025),
        ("1d", 86400.0),
        (30, 30.0),
        (0.5, 0.5),
    ],
)
def test_durations(written: Any, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "s", "5x", "-5s", "5 s s", "1e3s", "٣s", True, None, [], -1, float("nan"), "9" * 80, 10**400]
)
def test_what_is_no_duration(written: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("written", "size"), [("32MiB", 32 << 20), ("64 kB", 64_000), ("12", 12), (5, 5), ("1g", 10**9)]
)
def test_sizes(written: Any, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", ["", "MiB", "1.5MiB", "-1", "5x", None, True, 1.5])
def test_what_is_no_size(written: Any) -> None:
    with pytest.raises(ValueError, match="bytes"):
        parse_size(written)
