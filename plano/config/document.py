"""YAML text as plain values, with the line of every path and the environment put in.

Reading goes over PyYAML's node tree (safe loader): only there are lines known and duplicate keys still visible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from plano.config.environment import substitute
from plano.config.problems import ConfigError, Path, Problem, render_path

# Far beyond any real file; bounds the expansion of nested aliases.
MAX_VALUES = 100_000
MAX_DEPTH = 64

_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}
_QUOTED_TEXT = re.compile(r"(alias|anchor|handle|prefix|document) ['\"].*")


class _Loader(yaml.SafeLoader):
    """The safe loader, without timestamps: `2026-01-01` stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values. `unset` are the problems of variables without a value; `filled` the paths whose value holds
    text from the environment, which must not be shown."""

    file: str
    data: dict[str, Any]
    lines: Mapping[Path, int]
    unset: Mapping[Path, tuple[Problem, ...]]
    filled: frozenset[Path]

    def line_of(self, path: Path) -> int | None:
        """The line of a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def problem(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A problem at a path of this document."""
        return Problem(self.file, self.line_of(path), render_path(path), message, hint)


def read_document(text: str, file: str, variables: Mapping[str, str]) -> Document:
    """Read YAML text. `file` is its name in problems, `variables` the environment.

    Raises ConfigError for text that is not YAML, more than one document, duplicate keys, tags that are not plain data,
    and anything but a mapping at the top.
    """
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_explain_syntax(file, error)]) from None
    except yaml.YAMLError:
        raise ConfigError([Problem(file, None, "", "holds characters that YAML does not allow")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, None, "", "is nested too deeply")]) from None
    reader = _Reader(file, variables)
    if not isinstance(node, yaml.MappingNode):
        message = "is empty" if node is None else "must hold a mapping of keys at the top level"
        hint = "a Plano file begins with `version:` and `listeners:`"
        raise ConfigError([Problem(file, None if node is None else 1, "", message, hint)])
    try:
        data = reader.read(node, ())
    except RecursionError:
        raise ConfigError([Problem(file, None, "", "is nested too deeply")]) from None
    if reader.problems:
        raise ConfigError(reader.problems)
    return Document(file, data, reader.lines, reader.unset, frozenset(reader.filled))


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def _explain_syntax(file: str, error: yaml.MarkedYAMLError) -> Problem:
    # Only the kind of error is repeated, without the names in it: text that is not YAML may well be a secret.
    mark = error.problem_mark or error.context_mark
    problem = _QUOTED_TEXT.sub(r"\1", error.problem or "cannot be parsed")
    context = _QUOTED_TEXT.sub(r"\1", error.context or "")
    hint = "indent with spaces" if "\\t" in problem else None
    return Problem(
        file,
        mark.line + 1 if mark else None,
        "",
        f"not valid YAML: {problem}{f' ({context})' if context else ''}",
        hint,
    )


class _Reader:
    """Turns nodes into values, noting lines, duplicate keys and variables on the way."""

    def __init__(self, file: str, variables: Mapping[str, str]) -> None:
        self.lines: dict[Path, int] = {}
        self.unset: dict[Path, tuple[Problem, ...]] = {}
        self.filled: set[Path] = set()
        self.problems: list[Problem] = []
        self._file = file
        self._variables = variables
        self._constructor = yaml.constructor.SafeConstructor()
        self._open: set[int] = set()
        self._values = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count(node)
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, path)
        if id(node) in self._open:
            return self._refuse(node, path, "contains itself")
        if len(path) >= MAX_DEPTH:
            return self._refuse(node, path, "is nested too deeply")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._read_mapping(node, path)
            if node.tag != "tag:yaml.org,2002:seq":
                return self._refuse(node, path, "has a tag that is not plain data")
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        if node.tag != "tag:yaml.org,2002:map":
            self._refuse(node, path, "has a tag that is not plain data")
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, "has a key that is not text")
            elif key_node.tag == "tag:yaml.org,2002:merge":
                for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    self._merge(source, path, merged)
            elif key_node.value in own:
                first = own[key_node.value][0].start_mark.line + 1
                self._refuse(key_node, (*path, key_node.value), f"duplicate key, first seen in line {first}")
            else:
                # Keys keep the text of the file: YAML 1.1 would read `on` as true and `1` as a number.
                own[key_node.value] = (key_node, value_node)
        values = {}
        for key, (key_node, value_node) in {**merged, **own}.items():
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            values[key] = self.read(value_node, (*path, key))
        return values

    def _merge(self, source: yaml.Node, path: Path, merged: dict[str, tuple[yaml.Node, yaml.Node]]) -> None:
        if not isinstance(source, yaml.MappingNode):
            self._refuse(source, path, "`<<` must refer to a mapping")
            return
        if id(source) in self._open:
            self._refuse(source, path, "contains itself")
            return
        self._count(source)
        self._open.add(id(source))
        for key_node, value_node in source.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, "has a key that is not text")
            elif key_node.tag == "tag:yaml.org,2002:merge":
                for inner in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    self._merge(inner, path, merged)
            else:
                merged.setdefault(key_node.value, (key_node, value_node))
        self._open.discard(id(source))

    def _read_scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        if node.tag not in _SCALARS:
            return self._refuse(node, path, "has a tag that is not plain data")
        try:
            value = self._constructor.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            return self._refuse(node, path, "is not a value of its type")
        if not isinstance(value, str):
            return value
        text, missing, replaced = substitute(value, self._variables)
        if replaced:
            self.filled.add(path)
        if missing:
            self.unset[path] = tuple(self._explain_unset(name, node, path) for name in dict.fromkeys(missing))
        return text

    def _explain_unset(self, name: str, node: yaml.ScalarNode, path: Path) -> Problem:
        return Problem(
            self._file,
            node.start_mark.line + 1,
            render_path(path),
            f"environment variable {name} is not set",
            f"set it, add it to the .env beside the file, or write $${name} for the text itself",
        )

    def _count(self, node: yaml.Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            line = node.start_mark.line + 1
            raise ConfigError([Problem(self._file, line, "", f"holds more than {MAX_VALUES} values")])

    def _refuse(self, node: yaml.Node, path: Path, message: str) -> None:
        self.problems.append(Problem(self._file, node.start_mark.line + 1, render_path(path), message))
