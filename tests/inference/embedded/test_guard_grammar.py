"""The language in which the guard's training text is written, and that our grammars are well-formed in it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from training.guard_grammar import Grammar, GrammarError

DATA = Path(__file__).parents[3] / "training" / "data"


def make_grammar(tmp_path: Path, text: str) -> Grammar:
    path = tmp_path / "a.grammar"
    path.write_text(text)
    return Grammar([path])


def test_a_kept_choice_stays_the_same_within_a_text(tmp_path: Path) -> None:
    grammar = make_grammar(tmp_path, "@name\nAnna\nBert\nCleo\n@@hello\n[name=who] meets [name=who], says [=who].\n")
    texts = grammar.draw_many("hello", 3, random.Random(1))
    assert sorted(texts) == [f"{name} meets {name}, says {name}." for name in ("Anna", "Bert", "Cleo")]


def test_parts_nest_and_escapes_are_plain(tmp_path: Path) -> None:
    grammar = make_grammar(tmp_path, "@@line\n{a{1|2}|b} \\[x\\|y\\]\\nend\n")
    assert sorted(grammar.draw_many("line", 3, random.Random(1))) == ["a1 [x|y]\nend", "a2 [x|y]\nend", "b [x|y]\nend"]


def test_words_added_as_a_rule_mean_nothing(tmp_path: Path) -> None:
    grammar = make_grammar(tmp_path, "@@code\n[piece]\n")
    grammar.add_rule("piece", ["a[0] = {1 | 2}\\n"])
    assert grammar.draw("code", random.Random(1)) == "a[0] = {1 | 2}\\n"


def test_a_twin_says_something_else_in_the_same_frame(tmp_path: Path) -> None:
    grammar = make_grammar(tmp_path, "@harm\nsteal\n@goal\nbake\n@@ask\nhow to [harm]\n")
    twin = grammar.rename({"harm": "goal"})
    assert (grammar.draw("ask", random.Random(1)), twin.draw("ask", random.Random(1))) == (
        "how to steal",
        "how to bake",
    )


@pytest.mark.parametrize("line", ["[nobody]", "[=unset]", "{open", "[open", "[word:loud]", "[loop]"])
def test_a_mistake_in_a_grammar_is_named(tmp_path: Path, line: str) -> None:
    grammar = make_grammar(tmp_path, f"@word\nyes\n@loop\n[loop]\n@@root\n{line}\n")
    with pytest.raises(GrammarError):
        grammar.draw("root", random.Random(1))


def test_our_grammars_say_many_different_things_and_always_the_same() -> None:
    grammar = Grammar(sorted(DATA.glob("guard_*.grammar")))
    for name in ("prose", "snippet", "gateway", "anyword"):
        grammar.add_rule(name, ["the mill stood by the river for years", "rain fell on the roofs of the old town"])
    assert len(grammar.families) >= 30
    for family in grammar.families:
        texts = grammar.draw_many(family, 120, random.Random(family))
        assert len(texts) == 120, family
        assert texts == grammar.draw_many(family, 120, random.Random(family))
        assert not any("\0" in text for text in texts)
