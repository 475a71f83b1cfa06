"""How a command fails: one clear paragraph on stderr, exit status 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def reported() -> Iterator[None]:
    """Turns what the operator can put right into click's error; anything else stays a traceback, for it is our bug."""
    from plano.config.problems import ConfigError
    from plano.workers.failures import StartError

    try:
        yield
    except ConfigError as error:
        raise click.ClickException(render_problems(error)) from error
    except StartError as error:
        raise click.ClickException(str(error)) from error


def render_problems(error: Exception) -> str:
    """The problems of a ConfigError, one per line."""
    problems: tuple[object, ...] = getattr(error, "problems", ())
    if len(problems) <= 1:
        return str(error)
    return f"{len(problems)} problems\n" + "\n".join(f"  {problem}" for problem in problems)
