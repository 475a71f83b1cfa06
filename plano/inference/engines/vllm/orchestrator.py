"""The orchestrator on vLLM: one constrained answer per decision, with the confidence of its tokens."""

from __future__ import annotations

import json
from typing import Any, Final

from plano.config.plan import RolePlan
from plano.inference.calls import Decision, OrchestratorCall, Route, Turn
from plano.inference.engines.vllm.confidence import confidence_of, positions_of
from plano.inference.engines.vllm.engine import Json, VllmEngine
from plano.inference.engines.vllm.prompts import Prompts
from plano.inference.engines.vllm.runtime import Runtime
from plano.inference.roles import orchestrator as role
from plano.inference.roles.model_json import BadModelAnswer

_LIKELIEST: Final = 10  # tokens per position whose probabilities come back
_SHORTEST_ANSWER: Final = 64

_EXAMPLE: Final = OrchestratorCall(
    (Turn("user", "Why does this function return None?"),),
    (Route("code", "Writing and debugging programs"), Route("chat", "Small talk")),
)


class OrchestratorEngine(VllmEngine):
    """Decides among routes. The text of the routes comes first in the prompt and in the order of the config, so that
    vLLM's prefix cache holds it; the answer is bound to the routes' names by a grammar."""

    def __init__(self, plan: RolePlan) -> None:
        super().__init__(plan)
        self._prompts: Prompts
        self._context_tokens = 0

    async def warm_up(self, runtime: Runtime) -> None:
        self._prompts = Prompts(runtime.tokenizer, self.model)
        self._context_tokens = min(self.plan.context_tokens, runtime.max_tokens)
        for multiple in (False, True):
            try:
                await self.answer(_EXAMPLE._replace(multiple=multiple).pack(), b"")
            except BadModelAnswer:  # a model that answers nonsense is for its users to notice, not for a warm-up
                return

    async def answer(self, body: Any, traceparent: bytes) -> Json:
        call = OrchestratorCall.unpack(body)
        names = [route.name for route in call.routes]
        prompts = self._prompts
        room = self._context_tokens - prompts.overhead_tokens - prompts.count(role.PREFILL)
        prompt = role.render_prompt(call, prompts.count, room, self.plan.prompt_template)
        prompt_ids = prompts.token_ids([{"role": "user", "content": prompt}], role.PREFILL)
        completion = await self._write(prompt_ids, call, names, traceparent)
        routes = role.parse_answer(role.PREFILL + completion.text, names, call.multiple)
        return Decision(routes, confidence_of(positions_of(completion.token_ids, completion.logprobs))).pack()

    async def _write(self, prompt_ids: list[int], call: OrchestratorCall, names: list[str], traceparent: bytes) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        params = SamplingParams(
            temperature=0.0,
            max_tokens=min(self.runtime.max_tokens - len(prompt_ids), _longest_answer(names, call.multiple)),
            logprobs=_LIKELIEST,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(grammar=role.grammar(names, call.multiple)),
        )
        completion: Any = None
        async for output in self.runtime.generate(prompt_ids, params, traceparent):
            completion = output.outputs[0]
        return completion


def _longest_answer(names: list[str], multiple: bool) -> int:
    """Tokens that no answer needs more of: a token is a byte at least. A model spends a quarter of them."""
    longest = sorted((len(json.dumps(name).encode()) + 2 for name in names), reverse=True)
    return _SHORTEST_ANSWER + sum(longest[: role.MAX_CHOSEN if multiple else 1])
