"""Spec 1.16: what happens to files older than v0.4.0."""

from __future__ import annotations

from typing import Any

from plano.config.loading import LoadedConfig
from tests.config.files import load_data, small


def _provider(model: str, **preferences: str) -> dict[str, Any]:
    inline = [{"name": name, "description": text} for name, text in preferences.items()]
    return {"model": model, "access_key": "k", "routing_preferences": inline}


def _lifted(loaded: LoadedConfig) -> list[tuple[str, str, list[str]]]:
    return [(p.name, p.description, p.models) for p in loaded.config.routing_preferences or ()]


def test_inline_preferences_are_lifted_and_merged_in_provider_order() -> None:
    loaded = load_data(
        small(
            version="v0.3.0",
            model_providers=[
                _provider("openai/gpt-4o", code="c", chat="t"),
                _provider("groq/llama", chat="t", sql="s"),
            ],
        )
    )
    assert _lifted(loaded) == [
        ("code", "c", ["openai/gpt-4o"]),
        ("chat", "t", ["openai/gpt-4o", "groq/llama"]),
        ("sql", "s", ["groq/llama"]),
    ]
    assert all(provider.routing_preferences is None for provider in loaded.config.providers)
    assert loaded.config.version == "v0.4.0"
    assert [warning.path for warning in loaded.warnings if "deprecated" in warning.message] == ["version"]


def test_first_description_wins_with_a_warning() -> None:
    providers = [_provider("openai/gpt-4o", code="first"), _provider("groq/llama", code="second")]
    loaded = load_data(small(version="v0.3.0", model_providers=providers))
    assert _lifted(loaded) == [("code", "first", ["openai/gpt-4o", "groq/llama"])]
    paths = [warning.path for warning in loaded.warnings if "differs" in warning.message]
    assert paths == ["model_providers[1].routing_preferences[0].description"]


def test_top_level_entry_of_the_same_name_wins() -> None:
    loaded = load_data(
        small(
            version="0.2.0",
            model_providers=[_provider("openai/gpt-4o", code="inline", chat="t"), {"model": "groq/llama"}],
            routing_preferences=[{"name": "code", "description": "top", "models": ["groq/llama"]}],
        )
    )
    assert _lifted(loaded) == [("code", "top", ["groq/llama"]), ("chat", "t", ["openai/gpt-4o"])]


def test_newest_version_is_left_alone() -> None:
    loaded = load_data(small(model_providers=[_provider("openai/gpt-4o", code="c")]))
    assert loaded.config.routing_preferences is None
    assert loaded.config.providers[0].routing_preferences is not None
    assert [warning.path for warning in loaded.warnings] == ["model_providers[0].routing_preferences"]


def test_old_file_without_preferences_gets_its_one_warning() -> None:
    loaded = load_data(small(version="v0.1.0"))
    assert [warning.path for warning in loaded.warnings] == ["version"]
    assert loaded.config.routing_preferences is None


def test_top_level_preferences_of_an_old_file_are_kept() -> None:
    preference = {"name": "code", "description": "c", "models": ["openai/gpt-4o"]}
    loaded = load_data(small(version="v0.3.0", routing_preferences=[preference]))
    assert _lifted(loaded) == [("code", "c", ["openai/gpt-4o"])]
