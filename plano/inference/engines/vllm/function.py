"""The function role on vLLM: one of three forms by a grammar, watched for guessed values while it is written."""

from __future__ import annotations

from typing import Any, Final

from plano.config.plan import FunctionPlan, RolePlan
from plano.inference.calls import FunctionCall, Tool
from plano.inference.engines.vllm.engine import Json, VllmEngine
from plano.inference.engines.vllm.prompts import Prompts
from plano.inference.engines.vllm.runtime import Runtime
from plano.inference.roles import function as role
from plano.inference.roles.uncertainty import UncertaintyGate

_LIKELIEST: Final = 10  # tokens per position that the gate sees; its thresholds are made for ten
_WARM_UP_TOKENS: Final = 8

_EXAMPLE: Final = FunctionCall(
    ({"role": "user", "content": "What is the weather in Paris?"},),
    (
        Tool(
            "get_weather",
            "The weather of a city",
            {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        ),
    ),
)


class FunctionEngine(VllmEngine):
    """Says with what the tools are to be called. When the model has guessed a required value it is stopped there, and
    made to ask the user instead."""

    def __init__(self, plan: RolePlan) -> None:
        super().__init__(plan)
        limits = plan if isinstance(plan, FunctionPlan) else FunctionPlan()
        self._entropy, self._varentropy = limits.entropy, limits.varentropy
        self._prompts: Prompts
        self._context_tokens = 0

    async def warm_up(self, runtime: Runtime) -> None:
        self._prompts = Prompts(runtime.tokenizer, self.model)
        self._context_tokens = min(self.plan.context_tokens, runtime.max_tokens)
        for clarify in (False, True):
            await self._write(_EXAMPLE, self._messages(_EXAMPLE), clarify, b"", _WARM_UP_TOKENS)

    async def answer(self, body: Any, traceparent: bytes) -> Json:
        call = FunctionCall.unpack(body)
        messages = self._messages(call)
        text, guessed = await self._write(call, messages, False, traceparent, role.ANSWER_TOKENS)
        if guessed:
            text, _ = await self._write(call, messages, True, traceparent, role.ANSWER_TOKENS)
        return role.parse_answer(text, call.tools).pack()

    def _messages(self, call: FunctionCall) -> list[Json]:
        room = self._context_tokens - self._prompts.overhead_tokens
        return role.build_messages(call, self._prompts.count, room, template=self.plan.prompt_template)

    async def _write(
        self, call: FunctionCall, messages: list[Json], clarify: bool, traceparent: bytes, max_tokens: int
    ) -> tuple[str, bool]:
        """The answer's text with its prefill, and whether it was broken off because a value in it is guessed."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        prefill = role.CLARIFY_PREFILL if clarify else role.PREFILL
        prompt_ids = self._prompts.token_ids(messages, prefill)
        params = SamplingParams(
            temperature=0.0,
            max_tokens=max(1, min(self.runtime.max_tokens - len(prompt_ids), max_tokens)),
            logprobs=None if clarify else _LIKELIEST,
            output_kind=RequestOutputKind.FINAL_ONLY if clarify else RequestOutputKind.DELTA,
            structured_outputs=StructuredOutputsParams(
                grammar=role.grammar([tool.name for tool in call.tools], clarify)
            ),
        )
        gate = UncertaintyGate(call.tools, self._entropy, self._varentropy)
        gate.feed(prefill, None)
        text = prefill
        outputs = self.runtime.generate(prompt_ids, params, traceparent)
        try:
            async for output in outputs:
                completion = output.outputs[0]
                text += completion.text
                if not clarify and _feed(gate, completion):
                    return text, True
        finally:
            await outputs.aclose()  # aborts what is still being written
        return text, False


def _feed(gate: UncertaintyGate, completion: Any) -> bool:
    """Shows the gate the new tokens. True as soon as a value is found to be guessed."""
    for token_id, options in zip(completion.token_ids, completion.logprobs or (), strict=False):
        likeliest = sorted((option.logprob for option in options.values()), reverse=True)[:_LIKELIEST]
        if gate.feed(options[token_id].decoded_token or "", likeliest):
            return True
    return False
