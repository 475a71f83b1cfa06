"""What a general model is asked when it does the work of a role, and how its answers become the role's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from plano.config.plan import RolePlan
from plano.inference.calls import Decision, FunctionCall, GuardCall, OrchestratorCall, RoleName, Verdict
from plano.inference.engines.question import Message, Question
from plano.inference.roles import function, guard, orchestrator

Json = dict[str, Any]

BYTES_PER_TOKEN: Final = 3  # of UTF-8: nobody's tokenizer is at hand, and this errs on the side of too many tokens
JUDGEMENT_TOKENS: Final = 64
SUSPICIOUS: Final = 0.35  # a judge that calls a text harmless with less certainty than this leaves is worth a note


class Inquiry(NamedTuple):
    """The questions of one job, all to be asked, and what makes the role's answer of the texts that came back, in the
    order of the questions. `read` raises BadModelAnswer, and BadCall for what only shows then."""

    questions: tuple[Question, ...]
    read: Callable[[Sequence[str]], Json]


def ask_orchestrator(plan: RolePlan, body: Any) -> Inquiry:
    """Raises BadCall."""
    call = OrchestratorCall.unpack(body)
    names = [route.name for route in call.routes]
    prompt = orchestrator.render_prompt(call, count_tokens, plan.context_tokens, plan.prompt_template)
    chosen = orchestrator.MAX_CHOSEN if call.multiple else 1
    question = Question(
        "",
        (Message("user", prompt),),
        "routes",
        orchestrator.json_schema(names, call.multiple),
        orchestrator.ANSWER_TOKENS + chosen * max(map(count_tokens, names)),
    )

    def read(texts: Sequence[str]) -> Json:
        return Decision(orchestrator.parse_answer(texts[0], names, call.multiple)).pack()

    return Inquiry((question,), read)


def ask_guard(plan: RolePlan, body: Any) -> Inquiry:
    """Raises BadCall."""
    call = GuardCall.unpack(body)
    system = plan.prompt_template or guard.JUDGE_SYSTEM
    questions = tuple(
        Question(system, (Message("user", batch),), "judgement", guard.JUDGE_SCHEMA, JUDGEMENT_TOKENS)
        for batch in guard.render_judge_batches(call.texts)
    )

    def read(texts: Sequence[str]) -> Json:
        probability = max(map(guard.parse_judgement, texts), default=0.0)
        return Verdict(probability, probability >= SUSPICIOUS).pack()

    return Inquiry(questions, read)


def ask_function(plan: RolePlan, body: Any) -> Inquiry:
    """Raises BadCall."""
    call = FunctionCall.unpack(body)
    spoken = function.build_messages(call, count_tokens, plan.context_tokens, "schema", plan.prompt_template)
    system = "\n\n".join(message["content"] for message in spoken if message["role"] == "system")
    messages = tuple(Message(message["role"], message["content"]) for message in spoken if message["role"] != "system")
    schema = function.json_schema(call.tools)
    question = Question(system, messages, "function_calls", schema, function.ANSWER_TOKENS)

    def read(texts: Sequence[str]) -> Json:
        return function.parse_answer(texts[0], call.tools).pack()

    return Inquiry((question,), read)


def count_tokens(text: str) -> int:
    """About how many tokens `text` takes, rather too many than too few."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1


def asker_for(role: RoleName, plan: RolePlan) -> Callable[[Any], Inquiry]:
    """What turns the body of a call of `role` into questions; it raises BadCall."""
    return partial(_ASKERS[role], plan)


_ASKERS: Final[dict[RoleName, Callable[[RolePlan, Any], Inquiry]]] = {
    "orchestrator": ask_orchestrator,
    "guard": ask_guard,
    "function": ask_function,
}
