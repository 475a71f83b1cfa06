"""Secrets never reach a message or a repr, whatever is wrong around them."""

from __future__ import annotations

from typing import Any

import pytest

from plano.config.loading import parse
from plano.config.problems import ConfigError
from tests.config.files import load_data, plan, refuse, small

SECRET = "s3cr3t-value"


def _full(**changes: Any) -> dict[str, Any]:
    return small(
        model_providers=[
            {
                "model": "openai/gpt-4o",
                "access_key": SECRET,
                "headers": {"X-Key": SECRET},
                "base_url": f"https://h/{SECRET}",
            }
        ],
        state_storage={"type": "postgres", "connection_string": f"postgresql://u:{SECRET}@h/d"},
        routing={"session_cache": {"type": "redis", "url": f"redis://:{SECRET}@h"}},
        tracing={"exporters": [{"type": "posthog", "url": "https://h", "api_key": SECRET}]},
        endpoints={"e": {"endpoint": "h"}},
        prompt_targets=[
            {
                "name": "t",
                "description": "d",
                "endpoint": {"name": "e", "path": "/", "http_headers": {"Authorization": SECRET}},
            }
        ],
        **changes,
    )


def test_reprs_and_warnings_hold_no_secret() -> None:
    loaded = load_data(_full(version="v0.3.0"))
    assert SECRET not in repr(loaded)
    assert SECRET not in str(loaded.config)
    assert SECRET not in repr(plan(small(model_providers=[{"model": "groq/m", "access_key": SECRET}])))


@pytest.mark.parametrize(
    "data",
    [
        _full(surprise=1),
        _full(model_aliases={"x": {"target": "nope"}}),
        small(model_providers=[{"model": "openai/m", "access_key": [SECRET]}]),
        small(model_providers=[{"model": "openai/m", "access_key": {"key": SECRET}}]),
        small(model_providers=[{"model": "openai/m", "access_key": f"{SECRET}\n"}]),
        small(model_providers=[{"model": "openai/m", "headers": {"X": f"{SECRET}\n"}}]),
        small(model_providers=[{"model": "openai/m", "headers": SECRET}]),
        small(model_providers=[{"model": "openai/m", "base_url": f"ftp://u:{SECRET}@h"}]),
        small(model_providers=[{"model": "openai/m", "base_url": f"http://u:{SECRET}@h"}]),
        small(model_providers=[{"model": "openai/m", "base_url": f"http://u:{SECRET}@[h"}]),
        small(state_storage={"type": "postgres", "connection_string": [SECRET]}),
        small(routing={"session_cache": {"type": "redis", "url": f"http://:{SECRET}@h"}}),
        small(tracing={"opentracing_grpc_endpoint": f"https://u:{SECRET}@h"}),
    ],
)
def test_problems_hold_no_secret(data: dict[str, Any]) -> None:
    assert SECRET not in "\n".join(str(problem) for problem in refuse(data))


@pytest.mark.parametrize(
    "text",
    [
        f"version: v0.4.0\nlisteners: [\nmodel_providers: [{{access_key: '{SECRET}}}]\n",
        f"access_key: *{SECRET}\n",
        f"access_key: !{SECRET} x\n",
        f"access_key: !{SECRET}!x y\n",
        f"a: &{SECRET} 1\nb: &{SECRET} 2\nc: [\n",
        f"access_key: {SECRET}: {SECRET}\n",
        f"access_key: @{SECRET}\n",
        f'access_key: "{SECRET}\n',
    ],
)
def test_text_that_is_not_yaml_is_not_repeated(text: str) -> None:
    assert SECRET not in "\n".join(str(problem) for problem in refuse(text))


def test_value_from_the_environment_is_never_shown() -> None:
    text = "version: $V\nlisteners: [{name: a, type: $V, port: $V}]\nmodel_metrics_sources: [{type: $V}]\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, {"V": SECRET})
    assert len(caught.value.problems) == 4
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or SECRET not in str(caught.value.__context__)
