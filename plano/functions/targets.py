"""Prompt targets as tools, and calls of those tools made ready. Pure but for the ids of calls."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from plano.config.plan import TargetPlan
from plano.functions.placement import place, place_messages
from plano.functions.visits import Visit
from plano.inference.calls import BadCall, Tool, ToolCall
from plano.inference.roles.arguments import check_arguments
from plano.inference.roles.function import MAX_CALLS, question_for

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Readiness(NamedTuple):
    """Calls made ready, or the `question` that has to be put to the user first; neither: they are of no use."""

    visits: tuple[Visit, ...] = ()
    question: str = ""


_OF_NO_USE: Final = Readiness()


def describe_target(target: TargetPlan) -> Tool:
    """The target as the function model sees it. A parameter with a default is never asked for."""
    required = [one.name for one in target.parameters if one.required and one.default is None]
    schema: Json = {"type": "object", "properties": {one.name: one.schema for one in target.parameters}}
    if required:
        schema["required"] = required
    return Tool(target.name, target.description, schema)


class Targets:
    """The targets of a cluster. `tools` are theirs in their order; `default` takes what no target fits."""

    def __init__(self, targets: Sequence[TargetPlan]) -> None:
        self.tools = tuple(describe_target(target) for target in targets)
        self.default = next((target for target in targets if target.default), None)
        self._known = {target.name: (target, tool) for target, tool in zip(targets, self.tools, strict=True)}

    def prepare(self, calls: Sequence[ToolCall]) -> Readiness:
        """Check the calls against their tools, fill in defaults, put the arguments in their places. All have to be
        right: what is not declared, or not of its type, makes them of no use. Raises BadArguments."""
        visits: list[Visit] = []
        questions: list[str] = []
        if len(calls) > MAX_CALLS:
            log.warning("a call of more than %d targets is not made", MAX_CALLS)
            return _OF_NO_USE
        for call in calls:
            known = self._known.get(call.name)
            if known is None:
                log.warning("the function model named a target that does not exist")
                return _OF_NO_USE
            target, tool = known
            try:
                checked = check_arguments(tool, {**_defaults_of(target), **call.arguments})
            except BadCall as bad:
                log.warning("%s", bad)
                return _OF_NO_USE
            if checked.problems:
                log.warning("target %s is not called: %d of its arguments are wrong", tool.name, len(checked.problems))
                return _OF_NO_USE
            if checked.missing:
                questions.append(question_for(tool, checked.missing))
            elif not questions:
                placed = None if target.call is None else place(target.call, checked.arguments)
                visits.append(Visit(target, make_call_id(), checked.arguments, placed))
        if questions:
            return Readiness(question=" ".join(questions))
        return Readiness(tuple(visits))


def prepare_default(target: TargetPlan, messages: list[Json]) -> Visit:
    """The call of a default target with an endpoint. Raises BadArguments."""
    assert target.call is not None
    return Visit(target, "", {}, place_messages(target.call, messages, _defaults_of(target)))


def make_call_id() -> str:
    """A new id of a tool call."""
    return f"call_{uuid.uuid4().hex[:24]}"


def _defaults_of(target: TargetPlan) -> Json:
    return {one.name: one.default for one in target.parameters if one.default is not None}
