"""YAML as it is read: lines, keys, tags, anchors, and what is refused."""

from __future__ import annotations

import pytest

from plano.config.document import read_document
from plano.config.problems import ConfigError, render_path


def _read(text: str) -> object:
    return read_document(text, "f.yaml", {}).data


def _refuse(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_document(text, "f.yaml", {})
    return str(caught.value)


def test_every_path_knows_its_line() -> None:
    document = read_document("a: 1\nb:\n  - x\n  - c: 2\n    d: 3\n", "f.yaml", {})
    assert {render_path(path): line for path, line in document.lines.items()} == {
        "": 1,
        "a": 1,
        "b": 2,
        "b[0]": 3,
        "b[1]": 4,
        "b[1].c": 4,
        "b[1].d": 5,
    }
    assert document.line_of(("b", 1, "missing", 7)) == 4


def test_duplicate_keys_are_all_refused() -> None:
    told = _refuse("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n")
    assert "f.yaml:4: b.c: duplicate key, first seen in line 3" in told
    assert "f.yaml:5: a: duplicate key, first seen in line 1" in told


def test_keys_and_dates_stay_text() -> None:
    assert _read("on: 1\n1: x\nyes: y\nd: 2026-01-02\n") == {"on": 1, "1": "x", "yes": "y", "d": "2026-01-02"}


def test_anchors_and_merge_keys_work_and_own_keys_win() -> None:
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: [*b, {z: 4, x: 9}]}\n"
    assert _read(text) == {"base": {"x": 1, "y": 2}, "one": {"x": 1, "y": 3}, "two": {"x": 1, "y": 2, "z": 4}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n", "must hold a mapping"),
        ("a: [1\n", "f.yaml:2: not valid YAML"),
        ("a: 1\n\tb: 2\n", "f.yaml:2: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: \x00", "characters that YAML does not allow"),
        ("a: !!python/object/apply:os.system [id]", "tag that is not plain data"),
        ("a: !own x", "a: has a tag that is not plain data"),
        ("a: !!set {x}", "a: has a tag that is not plain data"),
        ("a: !!int many", "a: is not a value of its type"),
        ("a: !!bool many", "a: is not a value of its type"),
        ("a: &a [*a]", "a[0]: contains itself"),
        ("a: &a {b: *a}", "a.b: contains itself"),
        ("a: &a {<<: *a}", "contains itself"),
        ("? [x]\n: 1\n", "key that is not text"),
        ("a: " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("a: " + "[" * 20000, "nested too deeply"),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, told: str) -> None:
    assert told in _refuse(text)


@pytest.mark.parametrize(
    "shape", ["[*{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}, *{0}]", "{{<<: [*{0}, *{0}, *{0}, *{0}]}}"]
)
def test_alias_bomb_is_bounded(shape: str) -> None:
    seed = "a0: &a0 " + ("[x]" if shape.startswith("[") else "{x: 1}")
    lines = [seed, *(f"a{n}: &a{n} " + shape.format(f"a{n - 1}") for n in range(1, 30))]
    assert "holds more than" in _refuse("\n".join(lines))
