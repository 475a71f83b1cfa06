"""The function role for models that write text: what they are told, the form of their answer, how it is read.

Arch-Function's protocol: the tools stand in the system message, one JSON object per line; the answer is one of three
JSON forms in a fenced block. `response`: no tool serves. `required_functions` with `clarification`: a tool serves, but
something required has not been said. `tool_calls`: ready. General models behind an upstream give the same three forms
by a JSON Schema, with all keys present and the unused ones empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

from plano.inference.calls import BadCall, FunctionAnswer, FunctionCall, Tool, ToolCall
from plano.inference.roles.arguments import check_arguments
from plano.inference.roles.model_json import read_object, strip_reasoning
from plano.inference.roles.transcript import (
    MESSAGE_TOKENS,
    CountTokens,
    arguments_of,
    cost_of,
    fit,
    listed,
    plain_json,
    plain_messages,
    stripped,
)

Json = dict[str, Any]

PREFILL: Final = '```json\n{"'
"""What every answer begins with; `grammar` goes on from here. Give the parser and the gate prefill and continuation."""
CLARIFY_PREFILL: Final = '```json\n{"required_functions":'
"""The beginning that makes the model ask: for the second try, after the gate has flagged a guessed value."""

ANSWER_TOKENS: Final = 1_024
MAX_CALLS: Final = 16

_TASK: Final = """You are a helpful assistant. You help users by calling functions where functions are needed.

# Tools

You may call one or more functions to do what the user asks. Their signatures are within <tools></tools> tags:
<tools>
{tools}
</tools>

Decide which functions, if any, serve the user, and whether the conversation holds every required parameter of them. \
Never make up a value: what is required and has not been said, you ask for."""

_FENCED_FORM: Final = """

# Answer

Answer with JSON in exactly one of these three forms:

1. No function serves the user:
```json
{"response": "your words to the user"}
```

2. Functions serve the user, but required parameters have not been said:
```json
{"required_functions": ["name_of_a_function"], "clarification": "the question that asks for what is missing"}
```

3. Functions serve the user, and every required parameter is known:
```json
{"tool_calls": [{"name": "name_of_a_function", "arguments": {"name_of_a_parameter": "its value"}}]}
```"""

_SCHEMA_FORM: Final = """

# Answer

Answer with nothing but a JSON object with these four keys. Fill only those of the one case that holds, and leave the \
others empty ("" or []):
1. No function serves the user: "response" is a short answer in your words.
2. Functions serve the user, but required parameters have not been said: "required_functions" lists the functions' \
names, "clarification" is the question that asks for what is missing.
3. Functions serve the user, and every required parameter is known: "tool_calls" lists the calls in order, each with \
"name" and "arguments". The value of "arguments" is a string: the JSON text of an object of parameters' names and \
values."""

_TAGGED_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


def build_messages(
    call: FunctionCall,
    count_tokens: CountTokens,
    context_tokens: int,
    form: Literal["fenced", "schema"] = "fenced",
    template: str | None = None,
) -> list[Json]:
    """Messages of role and text, the first one the system's with the tools, in at most `context_tokens` less
    `ANSWER_TOKENS` (less a half of a small context) tokens.

    `form`: "fenced" for models of Arch-Function's protocol, whose answer is to be continued from `PREFILL`; "schema"
    for general models with `json_schema`. `template` replaces the system text; `{tools}` in it stands for the tools.
    Older messages go first when there is no room; what is left begins with a user's message, and its longest text is
    trimmed when even the last exchange is too long. Raises BadCall when the tools leave no room, or the last message is
    neither the user's nor a tool's.
    """
    layout = template if template is not None else _TASK + (_FENCED_FORM if form == "fenced" else _SCHEMA_FORM)
    system: list[Json] = [{"role": "system", "content": layout.replace("{tools}", _tool_lines(call.tools))}]
    spoken: list[Json] = []
    for message in plain_messages(call.messages):
        (system if message["role"] == "system" else spoken).append(message)
    if not spoken or spoken[-1]["role"] != "user":
        raise BadCall("the last message is neither the user's nor a tool's")
    room = context_tokens - min(ANSWER_TOKENS, context_tokens // 2)
    room -= sum(cost_of(message, count_tokens) for message in system)
    if room < MESSAGE_TOKENS + 16:
        raise BadCall(f"{len(call.tools)} tools and the system's texts leave no room in {context_tokens} tokens")
    return [{"role": message["role"], "content": message["content"]} for message in system] + [
        {"role": message["role"], "content": message["content"]} for message in fit(spoken, count_tokens, room)
    ]


def grammar(names: Sequence[str], clarify: bool = False) -> str:
    """EBNF (as xgrammar reads it) of what may follow `PREFILL`, or with `clarify` `CLARIFY_PREFILL`: one of the three
    forms, with these function names and any well-formed arguments, and the end of the fence."""
    name = " | ".join(_literal(json.dumps(name, ensure_ascii=False)) for name in names)
    question = f'" [" name (", " name){{0,{MAX_CALLS - 1}}} "], \\"clarification\\": " string "}}\\n```"'
    forms = (
        question
        if clarify
        else (
            '"response\\": " string "}\\n```"'
            f' | "required_functions\\":" {question}'
            f' | "tool_calls\\": [" call (", " call){{0,{MAX_CALLS - 1}}} "]}}\\n```"'
        )
    )
    return f"root ::= {forms}\nname ::= {name}\n{_JSON_RULES}"


_JSON_RULES: Final = r"""call ::= "{\"name\": " name ", \"arguments\": " object "}"
object ::= "{" (member (", " member)*)? "}"
member ::= string ": " value
array ::= "[" (value (", " value)*)? "]"
value ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,17}) ("." [0-9]{1,17})? ([eE] [+-]? [0-9]{1,3})?
"""


def json_schema(tools: Sequence[Tool]) -> Json:
    """The answer of a general model, in the part of JSON Schema that all strict modes know. `arguments` is JSON text:
    an object of open form is what those modes refuse."""
    name = {"type": "string", "enum": [tool.name for tool in tools]}
    call = {
        "type": "object",
        "properties": {
            "name": name,
            "arguments": {"type": "string", "description": "The arguments as the JSON text of an object."},
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    properties: Json = {
        "response": {"type": "string", "description": 'Only when no function serves the user, else "".'},
        "required_functions": {
            "type": "array",
            "items": name,
            "description": "Only when required parameters have not been said, else empty.",
        },
        "clarification": {"type": "string", "description": 'The question that asks for what is missing, else "".'},
        "tool_calls": {"type": "array", "items": call, "description": "The calls to make, else empty."},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_answer(text: str, tools: Sequence[Tool]) -> FunctionAnswer:
    """One of the three outcomes. `text` is the whole answer, the prefill included.

    A `response` counts before `required_functions`, and those before `tool_calls`. All calls have to pass their tools'
    schemas, coerced where that loses nothing: when all that is wrong is that required parameters are missing the user
    is asked for them; otherwise the outcome is `none`, the tools meant are the candidates, and `raw` ends with the
    reason. Raises BadModelAnswer for a text that is no answer, BadCall when a tool's parameters are no JSON Schema.
    """
    by_name = {tool.name: tool for tool in tools}
    answer, calls = _read(text)
    if stripped(answer.get("response")):
        return FunctionAnswer("none", raw=text)
    if wanted := [name for name in listed(answer.get("required_functions")) if isinstance(name, str)]:
        known = tuple(name for name in dict.fromkeys(wanted) if name in by_name)
        question = stripped(answer.get("clarification")) or " ".join(
            question_for(by_name[name], _required(by_name[name])) for name in known
        )
        if question:
            return FunctionAnswer("clarify", question=question, candidates=known, raw=text)
        return _invalid(text, known, ["no function of that name"])
    if not calls:
        return FunctionAnswer("none", raw=text)
    return _checked(text, calls, by_name)


def question_for(tool: Tool, parameters: Sequence[str]) -> str:
    """A question that asks the user for `parameters` of `tool`, in the words of their descriptions."""
    properties = tool.parameters.get("properties")
    asked: list[str] = []
    for name in parameters:
        schema = properties.get(name) if isinstance(properties, dict) else None
        words = name.replace("_", " ").strip()
        allowed = schema.get("enum") if isinstance(schema, dict) else None
        if isinstance(allowed, list) and 1 < len(allowed) <= 8:
            words += f" ({', '.join(map(str, allowed[:-1]))} or {allowed[-1]})"
        elif isinstance(schema, dict) and (described := _first_sentence(stripped(schema.get("description")))):
            words += f" ({described})"
        asked.append(words)
    if not asked:
        return f"Could you tell me more about what {tool.name.replace('_', ' ')} should do?"
    listed = asked[0] if len(asked) == 1 else f"{', '.join(asked[:-1])} and {asked[-1]}"
    return f"Could you please tell me the {listed}?"


def _checked(text: str, calls: list[Any], by_name: dict[str, Tool]) -> FunctionAnswer:
    ready: list[ToolCall] = []
    questions: list[str] = []
    problems: list[str] = []
    meant: dict[str, None] = {}
    if len(calls) > MAX_CALLS:
        problems.append(f"more than {MAX_CALLS} calls")
    for call in calls[:MAX_CALLS]:
        if isinstance(call, dict) and isinstance(call.get("function"), dict):
            call = call["function"]  # the wrapper of the chat completions dialect
        name = call.get("name") if isinstance(call, dict) else None
        tool = by_name.get(name) if isinstance(name, str) else None
        if tool is None:
            problems.append("no function of that name" if isinstance(name, str) else "a call without a name")
            continue
        meant[tool.name] = None
        arguments = arguments_of(call)
        if arguments is None:
            problems.append(f"{tool.name}: the arguments are no object")
            continue
        checked = check_arguments(tool, arguments)
        problems += checked.problems
        if checked.missing:
            questions.append(question_for(tool, checked.missing))
        ready.append(ToolCall(tool.name, checked.arguments))
    if problems:
        return _invalid(text, tuple(meant), problems)
    if questions:
        return FunctionAnswer("clarify", question=" ".join(questions), candidates=tuple(meant), raw=text)
    return FunctionAnswer("calls", calls=tuple(ready), raw=text)


def _invalid(text: str, candidates: tuple[str, ...], problems: Sequence[str]) -> FunctionAnswer:
    return FunctionAnswer("none", candidates=candidates, raw=f"{text}\n[not called: {'; '.join(problems)}]")


def _read(text: str) -> tuple[Json, list[Any]]:
    """The answer's object and its calls: in one of the three forms, as `<tool_call>` blocks (what the models' base
    writes), or as a single bare call."""
    spoken = strip_reasoning(text)
    if "<tool_call>" in spoken.partition("{")[0]:
        return {}, [read_object(block, mend_brackets=True) for block in _TAGGED_CALL.findall(spoken)]
    answer = read_object(text, mend_brackets=True)
    if isinstance(answer.get("name"), str) and ("arguments" in answer or "parameters" in answer):
        return {}, [answer]
    calls = answer.get("tool_calls")
    return answer, [calls] if isinstance(calls, dict) else listed(calls)


def _tool_lines(tools: Sequence[Tool]) -> str:
    return "\n".join(plain_json(tool._asdict()) for tool in tools)


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _required(tool: Tool) -> list[str]:
    return [name for name in listed(tool.parameters.get("required")) if isinstance(name, str)]


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0].rstrip(".")
    return sentence if len(sentence) <= 100 else ""
