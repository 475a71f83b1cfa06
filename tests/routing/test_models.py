"""Which provider entry serves the model a client names, and what the upstream is asked for (spec 3.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.routing.models import ModelTable
from tests.upstreams.plans import provider

PROVIDERS = (
    provider("openai/gpt-4o", default=True),
    provider("openai/gpt-4o-mini", name="small"),
    provider("azure/gpt-4o", name="azure/gpt-4o"),
    provider("groq/meta/llama-3"),
    provider("openai/*"),
    provider("mistral/*"),
)
ALIASES = {"fast": "small", "claude.small": "openai/gpt-4o", "one.hop": "fast", "wild": "mistral/mistral-large"}
KNOWN = ("openai/gpt-4o", "small", "openai/gpt-5", "mistral/codestral", "openai/gpt-4o-mini")
TABLE = ModelTable(PROVIDERS, ALIASES, KNOWN)


def served(name: str | None, table: ModelTable = TABLE) -> tuple[str, str] | None:
    """(name of the entry, id sent upstream), None when nobody serves it."""
    target = table.resolve(name)
    return (target.provider.name, target.upstream_model) if target else None


@pytest.mark.parametrize(
    ("asked", "entry", "sent"),
    [
        # exact name of an entry
        ("openai/gpt-4o", "openai/gpt-4o", "gpt-4o"),
        ("small", "small", "gpt-4o-mini"),
        ("azure/gpt-4o", "azure/gpt-4o", "gpt-4o"),
        # full model string of an entry with another name
        ("openai/gpt-4o-mini", "small", "gpt-4o-mini"),
        # bare id: the first entry with it
        ("gpt-4o", "openai/gpt-4o", "gpt-4o"),
        ("gpt-4o-mini", "small", "gpt-4o-mini"),
        # a bare id with slashes of its own
        ("groq/meta/llama-3", "groq/meta/llama-3", "meta/llama-3"),
        ("anything/meta/llama-3", "groq/meta/llama-3", "meta/llama-3"),
        # any prefix with a configured bare id
        ("whatever/gpt-4o", "openai/gpt-4o", "gpt-4o"),
        ("/gpt-4o", "openai/gpt-4o", "gpt-4o"),
        # models that a wildcard is known to have, full and bare
        ("openai/gpt-5", "openai/*", "gpt-5"),
        ("gpt-5", "openai/*", "gpt-5"),
        ("codestral", "mistral/*", "codestral"),
        ("somebody/codestral", "mistral/*", "codestral"),
        # models nobody has heard of, at a wildcard of the same prefix
        ("openai/ft:gpt-4o:acme::1", "openai/*", "ft:gpt-4o:acme::1"),
        ("mistral/org/new", "mistral/*", "org/new"),
        # aliases
        ("fast", "small", "gpt-4o-mini"),
        ("claude.small", "openai/gpt-4o", "gpt-4o"),
        ("wild", "mistral/*", "mistral-large"),
    ],
)
def test_look_up(asked: str, entry: str, sent: str) -> None:
    assert served(asked) == (entry, sent)


@pytest.mark.parametrize(
    "asked",
    [
        "gpt-9",
        "groq/llama-9",
        "meta",
        "openai",
        "openai/",
        "*",
        "OpenAI/new",
        "GPT-4o",
        " gpt-4o",
        "one.hop",  # its target is an alias: there is one hop only
        "mistral/a b",
        "mistral/a\r\nx-evil: 1",
        "mistral/\u00fc",
        "mistral/a\x00",
        "mistral/" + "x" * 257,
    ],
)
def test_names_that_nobody_serves(asked: str) -> None:
    assert served(asked) is None


@pytest.mark.parametrize("asked", [None, "", "none", "--"])
def test_a_request_that_names_no_model_gets_the_default(asked: str | None) -> None:
    assert served(asked) == ("openai/gpt-4o", "gpt-4o")


def test_the_only_provider_is_the_default() -> None:
    assert served(None, ModelTable([provider("a/x")], {})) == ("a/x", "x")
    assert served(None, ModelTable([provider("a/x"), provider("b/*")], {})) == ("a/x", "x")


def test_without_a_default_a_model_must_be_named() -> None:
    assert served(None, ModelTable([provider("a/x"), provider("b/y")], {})) is None
    assert served(None, ModelTable([provider("a/*")], {})) is None
    assert served(None, ModelTable([], {})) is None


def test_internal_providers_are_nobodys_default() -> None:
    table = ModelTable([provider("plano/router", internal=True, default=True), provider("a/x")], {})
    assert served(None, table) == ("a/x", "x")
    assert served("plano/router", table) == ("plano/router", "router")


def test_a_name_wins_over_the_model_string_of_another_entry() -> None:
    table = ModelTable([provider("a/x", name="first"), provider("b/y", name="a/x")], {})
    assert served("a/x", table) == ("a/x", "y")
    assert served("x", table) == ("first", "x")


def test_an_explicit_entry_wins_over_a_wildcard_wherever_it_stands() -> None:
    for providers in ([provider("a/*"), provider("a/x", name="mine")], [provider("a/x", name="mine"), provider("a/*")]):
        table = ModelTable(providers, {}, ["a/x", "a/z"])
        assert served("a/x", table) == served("x", table) == ("mine", "x")
        assert served("a/z", table) == ("a/*", "z")


def test_the_name_of_an_entry_is_no_model_of_a_wildcard() -> None:
    table = ModelTable([provider("a/x", name="a/mine"), provider("a/*")], {}, ["a/mine", "a/z"])
    assert served("a/mine", table) == ("a/mine", "x")
    assert served("mine", table) is None


def test_an_alias_hides_a_model_of_the_same_name() -> None:
    table = ModelTable([provider("a/x"), provider("b/y")], {"x": "b/y"})
    assert served("x", table) == ("b/y", "y")
    assert served("a/x", table) == ("a/x", "x")


@given(st.text(max_size=300) | st.from_regex(r"mistral/[^\r\n]{0,20}"))
def test_no_name_reaches_a_header_or_a_path_with_more_than_visible_ascii(name: str) -> None:
    target = TABLE.resolve(name)
    assert target is None or (target.upstream_model.isascii() and target.upstream_model.isprintable())
    assert target is None or " " not in target.upstream_model
