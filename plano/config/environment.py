"""`$VARIABLE` and `${VARIABLE}` in the values of a file, and the `.env` beside it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from plano.config.problems import ConfigError, Problem

# `$$NAME` stands for a literal `$NAME`. Text such as `$5` is left alone.
_REFERENCE = re.compile(
    r"\$(?P<escape>\$(?=[A-Za-z_{]))|\$\{(?P<braced>[A-Za-z_]\w*)\}|\$(?P<plain>[A-Za-z_]\w*)", re.ASCII
)


def substitute(text: str, variables: Mapping[str, str]) -> tuple[str, tuple[str, ...], bool]:
    """Put the values of variables into a text.

    Returns the text, the names that `variables` lacks (their references stay as written), and whether any value was
    put in. A value is never itself searched for references.
    """
    missing: list[str] = []
    replaced = False

    def replace(match: re.Match[str]) -> str:
        nonlocal replaced
        if match.group("escape"):
            return "$"
        name = match.group("braced") or match.group("plain")
        value = variables.get(name)
        if value is None:
            missing.append(name)
            return match.group()
        replaced = True
        return value

    return _REFERENCE.sub(replace, text), tuple(missing), replaced


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file; none when there is no such file.

    Raises ConfigError when the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(str(path), None, "", reason)]) from None
    # References within .env are not expanded: that would read this process's environment behind the caller's back.
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}
