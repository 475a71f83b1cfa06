"""Reading files: forms, lookup, lines, hints, and everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from plano.config.loading import find_config_file, load, parse
from plano.config.problems import ConfigError
from plano.config.schema.listeners import Listener
from tests.config import examples
from tests.config.files import load_data, plan, refuse, small


@pytest.mark.parametrize("name", examples.ALL)
def test_example_loads_and_compiles(name: str) -> None:
    loaded = parse(examples.ALL[name], examples.VARIABLES)
    assert loaded.config.version == "v0.4.0"
    assert all(isinstance(listener, Listener) for listener in loaded.config.listeners)
    assert loaded.config.providers


@pytest.mark.parametrize("version", ["v0.1", "v0.1.0", "0.1-beta", "0.2.0", "v0.3.0", "v0.4.0"])
def test_every_version_loads(version: str) -> None:
    assert load_data(small(version=version)).config.version == "v0.4.0"


def test_unknown_version_is_refused_with_the_nearest_one() -> None:
    (problem,) = refuse(small(version="v0.4.1"))
    assert problem.path == "version"
    assert "v0.4.0" in str(problem.hint)


def test_legacy_object_becomes_an_array() -> None:
    loaded = parse(examples.LEGACY_OBJECT, examples.VARIABLES)
    by_type = {listener.type: listener for listener in loaded.config.listeners if isinstance(listener, Listener)}
    assert set(by_type) == {"model", "prompt"}
    assert by_type["prompt"].timeout == 5.0
    assert [provider.canonical_name for provider in loaded.config.model_providers or ()] == ["gpt"]
    assert loaded.config.llm_providers is None


def test_legacy_object_with_egress_only_has_no_prompt_listener() -> None:
    data = small(listeners={"egress_traffic": {"port": 12345}})
    assert [(listener.type, listener.port) for listener in plan(data).listeners] == [("model", 12345)]


def test_problem_reads_as_file_line_path_message_hint() -> None:
    text = "version: v0.4.0\nlisteners:\n  - name: llm\n    typ: model\n"
    problems = refuse(text)
    assert "plano.yaml:4: listeners[0].typ: unknown key (hint: did you mean `type`?)" in [str(p) for p in problems]


def test_every_schema_problem_is_reported_at_once_with_its_line() -> None:
    text = """
version: v9
listeners:
  - name: llm
    type: modle
    port: 70000
    timeout: soon
model_providers:
  - access_kye: x
    default: maybe
  - model: 5
surprise: 1
"""
    found = {(problem.path, problem.line) for problem in refuse(text)}
    assert found == {
        ("version", 2),
        ("listeners[0].type", 5),
        ("listeners[0].port", 6),
        ("listeners[0].timeout", 7),
        ("model_providers[0].access_kye", 9),
        ("model_providers[0].model", 9),
        ("model_providers[0].default", 10),
        ("model_providers[1].model", 11),
        ("surprise", 12),
    }


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("model_provider: []", "model_provider", "model_providers"),
        ("routing: {sesion_ttl_seconds: 5}", "routing.sesion_ttl_seconds", "session_ttl_seconds"),
        ("tracing: {exporters: [{typ: posthog}]}", "tracing.exporters[0].typ", "type"),
        ("model_aliases: {fast: {targt: gpt-4o}}", "model_aliases.fast.targt", "target"),
        ("model_aliases: {gpt.4: {targt: gpt-4o}}", 'model_aliases["gpt.4"].targt', "target"),
        ("model_metrics_sources: [{type: cots, provider: models.dev}]", "model_metrics_sources[0]", "cost"),
        (
            "model_metrics_sources: [{type: cost, provider: modelsdev}]",
            "model_metrics_sources[0].provider",
            "models.dev",
        ),
        ("inference: {guard: {engine: embeded}}", "inference.guard.engine", "embedded"),
    ],
)
def test_misspelt_word_gets_a_hint(text: str, path: str, hint: str) -> None:
    problems = {problem.path: problem for problem in refuse(examples.GATEWAY + text, examples.VARIABLES)}
    assert f"did you mean `{hint}`?" == problems[path].hint


def test_number_where_text_is_meant_says_to_quote_it() -> None:
    (problem,) = refuse(small(model_providers=[{"model": "openai/m", "headers": {"X-Id": 5}}]))
    assert (problem.path, problem.hint) == ("model_providers[0].headers.X-Id", "put it in quotes")


def test_missing_top_level_keys_are_both_named() -> None:
    assert {problem.path for problem in refuse("mode: llm")} == {"version", "listeners"}


def test_key_without_a_value_counts_as_absent() -> None:
    loaded = parse(examples.GATEWAY + "tracing:\nagents:\n", examples.VARIABLES)
    assert loaded.config.tracing is None
    assert refuse(examples.GATEWAY + "tracin:\n", examples.VARIABLES)[0].path == "tracin"


def test_explicit_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "any-name.yml"
    path.write_text(examples.GATEWAY)
    loaded = load(path, examples.VARIABLES)
    assert loaded.path == path


def test_file_of_a_directory_is_found_in_order(tmp_path: Path) -> None:
    assert find_config_file(tmp_path) is None
    for name in ("plano.yaml", "plano_config.yaml", "config.yaml"):
        (tmp_path / name).write_text(examples.GATEWAY)
        found = find_config_file(tmp_path)
        assert found is not None
        assert found.name == name
    assert load(tmp_path, examples.VARIABLES).path == tmp_path / "config.yaml"


def test_current_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"holds none of config\.yaml"):
        load(None, {})
    (tmp_path / "config.yaml").write_text(examples.GATEWAY)
    assert load(None, examples.VARIABLES).config.providers


@pytest.mark.parametrize(("content", "message"), [(None, "does not exist"), (b"\xff\xfe\x00", "is not UTF-8 text")])
def test_unreadable_file_is_one_problem(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(path, {})


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + examples.GATEWAY.encode())
    assert load(path, examples.VARIABLES).config.providers


def test_sections_without_effect_are_named_in_one_warning() -> None:
    loaded = parse(examples.EVERYTHING, examples.VARIABLES)
    told = [str(warning) for warning in loaded.warnings if "without effect" in warning.message]
    assert len(told) == 1
    assert all(part in told[0] for part in ("ratelimits", "tracing", "state_storage"))
    assert parse(examples.GATEWAY, examples.VARIABLES).warnings == ()
