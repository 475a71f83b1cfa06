"""Variables in the values of a file, and the `.env` beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plano.config.environment import substitute
from plano.config.loading import load, parse
from plano.config.problems import ConfigError
from tests.config import examples
from tests.config.files import refuse


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$KEY", "v"),
        ("${KEY}", "v"),
        ("Bearer ${KEY}!", "Bearer v!"),
        ("$KEY$KEY", "vv"),
        ("$KEY.x", "v.x"),
        ("costs $5 or 5$", "costs $5 or 5$"),
        ("$$KEY and $${KEY}", "$KEY and ${KEY}"),
        ("$$", "$$"),
        ("${", "${"),
        ("$NESTED", "$KEY"),
    ],
)
def test_reference_becomes_its_value(text: str, result: str) -> None:
    assert substitute(text, {"KEY": "v", "NESTED": "$KEY"})[0] == result


def test_unset_variables_are_all_listed_with_their_lines() -> None:
    text = """version: v0.4.0
listeners: [{name: llm, type: model, port: 12000}]
model_providers:
  - {model: openai/gpt-4o, access_key: $ONE}
  - model: groq/llama
    access_key: ${TWO}
    headers: {X-A: "$ONE-$THREE"}
# $FOUR is a comment
"""
    found = [(problem.line, problem.path, problem.message) for problem in refuse(text)]
    assert found == [
        (4, "model_providers[0].access_key", "environment variable ONE is not set"),
        (6, "model_providers[1].access_key", "environment variable TWO is not set"),
        (7, "model_providers[1].headers.X-A", "environment variable ONE is not set"),
        (7, "model_providers[1].headers.X-A", "environment variable THREE is not set"),
    ]


def test_unset_variable_is_told_once_and_beside_schema_problems() -> None:
    text = examples.GATEWAY.replace("12000", "$PORT") + "surprise: 1\n"
    problems = refuse(text, examples.VARIABLES)
    assert [problem.message for problem in problems] == ["environment variable PORT is not set", "unknown key"]


def test_variable_may_hold_a_number_or_a_truth_value() -> None:
    text = examples.GATEWAY.replace("12000", "$PORT").replace("true", "$YES")
    loaded = parse(text, {**examples.VARIABLES, "PORT": "12345", "YES": "true"})
    assert loaded.config.listeners[0].port == 12345  # type: ignore[index]
    assert loaded.config.providers[0].default is True


def test_variable_set_to_nothing_is_set() -> None:
    assert parse(examples.GATEWAY, {"OPENAI_API_KEY": ""}).config.providers[0].access_key == ""


def test_dotenv_beside_the_file_fills_in_and_the_process_wins(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        examples.GATEWAY + "  - {model: groq/llama, access_key: $GROQ, headers: {X-Q: $QUOTED}}\n"
    )
    (tmp_path / ".env").write_text("export OPENAI_API_KEY=from-file\nGROQ=g # comment\nQUOTED='a $GROQ'\n")
    openai, groq = load(tmp_path, {"OPENAI_API_KEY": "from-process"}).config.providers
    assert openai.access_key == "from-process"
    assert groq.access_key == "g"
    assert groq.headers == {"X-Q": "a $GROQ"}


def test_dotenv_is_looked_for_beside_the_file_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.yaml").write_text(examples.GATEWAY)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=x\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        load(tmp_path / "sub", {})


def test_unreadable_dotenv_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(examples.GATEWAY)
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigError, match=r"\.env: is not UTF-8 text"):
        load(tmp_path, {})
