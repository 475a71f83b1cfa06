"""Why a cluster does not start: one error type, shown to the operator as one paragraph."""

from __future__ import annotations


class StartError(Exception):
    """The cluster cannot run. The message is complete: what is wrong, where, and what to do."""
