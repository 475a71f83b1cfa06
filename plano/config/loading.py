"""From a file on disk to a validated configuration: read, put in the environment, validate, check, migrate, wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from plano.config.checks import check
from plano.config.checks_files import check_files
from plano.config.document import Document, read_document
from plano.config.environment import read_dotenv
from plano.config.explanations import explain
from plano.config.migration import Finding, migrate
from plano.config.problems import ConfigError, Problem
from plano.config.schema.file import PlanoFile
from plano.config.wiring import wire

FILE_NAMES = ("config.yaml", "plano_config.yaml", "plano.yaml")
MAX_FILE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be started.

    `config` is in the newest form: listeners as an array, providers under `model_providers`, no inline preferences.
    `path` is None when it did not come from a file.
    """

    config: PlanoFile
    warnings: tuple[Problem, ...]
    path: Path | None


def find_config_file(path: Path | None = None) -> Path | None:
    """The config file meant by a path: itself, or the first of `FILE_NAMES` in a directory (default: the current one).

    None when a directory holds none. A path that is not there is returned as it is, for `load` to complain about.
    """
    place = path if path is not None else Path()
    if not place.is_dir():
        return place
    return next((place / name for name in FILE_NAMES if (place / name).is_file()), None)


def load(path: Path | None, environ: Mapping[str, str]) -> LoadedConfig:
    """Load a config file. Variables are looked up in `environ`, then in a `.env` beside the file.

    Raises ConfigError with everything that is wrong.
    """
    found = find_config_file(path)
    if found is None:
        message = f"holds none of {', '.join(FILE_NAMES)}"
        raise ConfigError([Problem(str(path or Path.cwd()), None, "", message)])
    text = _read(found)
    variables = {**read_dotenv(found.parent / ".env"), **environ}
    return parse(text, variables, str(found), found)


def parse(text: str, variables: Mapping[str, str], file: str = "plano.yaml", path: Path | None = None) -> LoadedConfig:
    """Validate the text of a config file. `file` is what problems call it. With the `path` it was read from, the files
    it names are looked at too.

    Raises ConfigError: first for text that is not YAML; then for unset variables and for what the schema refuses, all
    at once; then for what the checks find, all at once.
    """
    document = read_document(text, file, variables)
    unset = [problem for problems in document.unset.values() for problem in problems]
    try:
        written = PlanoFile.model_validate(document.data)
    except ValidationError as error:
        # Not chained: a validation error holds the values, secrets among them.
        problems = [*unset, *explain(error, document)]
    except RecursionError:
        problems = [*unset, Problem(file, None, "", "is nested too deeply")]
    else:
        problems = unset
    if problems:
        raise ConfigError(_sort(problems))
    migrated, warnings = migrate(written)
    findings = [*check(written), *(check_files(written) if path is not None else ()), *warnings]
    fatal = _tell(document, (finding for finding in findings if finding.fatal))
    if fatal:
        raise ConfigError(fatal)
    mild = _tell(document, (finding for finding in findings if not finding.fatal))
    return LoadedConfig(wire(migrated, variables), mild, path)


def _tell(document: Document, findings: Iterable[Finding]) -> tuple[Problem, ...]:
    return tuple(_sort(document.problem(finding.path, finding.message, finding.hint) for finding in findings))


def _sort(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError([Problem(str(path), None, "", f"is larger than {MAX_FILE_BYTES} bytes")])
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        reason = "does not exist"
    except UnicodeDecodeError:
        reason = "is not UTF-8 text"
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or 'not a usable path'}"
    raise ConfigError([Problem(str(path), None, "", reason)])
