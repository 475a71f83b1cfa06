"""Tools, the choice among them and their calls in the chat dialect.

Source: OpenAI API reference, "Create chat completion": ChatCompletionTool, CustomToolChatCompletions,
ChatCompletionToolChoiceOption, ChatCompletionAllowedToolsChoice, ChatCompletionMessageToolCall; the deprecated
`functions` and `function_call`. `extra_content.google.thought_signature` of a call: Gemini API, "OpenAI compatibility".

Free-text tools are OpenAI's alone among the servers of this dialect, and OpenAI's are reached in the dialect of those
who ask for such tools. A client of another dialect is sent on with functions in their place (see custom_tools.py).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.chat.content import read_cache
from plano.dialects.chat.fields import (
    join_path,
    read_array,
    read_boolean,
    read_object,
    read_string,
    require_element,
    require_object,
    require_string,
)
from plano.dialects.conversation import (
    BadRequest,
    Conversation,
    Dropped,
    Json,
    Tool,
    ToolChoice,
    ToolUse,
    Untranslatable,
)
from plano.dialects.custom_tools import schema_of, wrap
from plano.dialects.gemini.content import SIGNATURE_TAG

# Of the web search tools of other dialects: what `web_search_options` can say, and what must not be left unsaid.
_SEARCH_FIELDS: Final = frozenset(("type", "name", "search_context_size", "user_location"))
_SEARCH_LIMITS: Final = frozenset(("allowed_domains", "blocked_domains", "filters"))
_MODES: Final = {"auto": "auto", "none": "none", "required": "any", "any": "any"}


def parse_tools(body: Json) -> list[Tool]:
    """The tools of a request; the deprecated `functions` after `tools`. Raises BadRequest."""
    tools: list[Tool] = []
    for number, value in enumerate(read_array(body, "tools") or []):
        path = f"tools[{number}]"
        tools.append(_parse_tool(require_element(value, path), path))
    for number, value in enumerate(read_array(body, "functions") or []):
        path = f"functions[{number}]"
        tools.append(_parse_function(require_element(value, path), path))
    return tools


def parse_choice(body: Json) -> ToolChoice | None:
    """`tool_choice`, else the deprecated `function_call`. Raises BadRequest."""
    choice = body.get("tool_choice")
    if choice is not None:
        return _parse_choice(choice, "tool_choice")
    call = body.get("function_call")
    if type(call) is dict:
        return ToolChoice("tool", name=require_string(call, "name", "function_call"))
    return None if call is None else _parse_choice(call, "function_call")


def parse_calls(message: Json, path: str) -> list[ToolUse]:
    """The tool calls of an assistant's message in a request. Raises BadRequest."""
    calls: list[ToolUse] = []
    for number, value in enumerate(read_array(message, "tool_calls", path) or []):
        place = f"{path}.tool_calls[{number}]"
        call = require_element(value, place)
        call_id = require_string(call, "id", place)
        if call.get("type") == "custom":
            custom = require_object(call, "custom", place)
            inner = join_path(place, "custom")
            name, given = require_string(custom, "name", inner), read_string(custom, "input", inner) or ""
            calls.append(ToolUse(call_id, name, given, custom=True, cache=read_cache(call)))
            continue
        function = require_object(call, "function", place)
        inner = join_path(place, "function")
        arguments = function.get("arguments")
        if arguments is not None and type(arguments) is not str and type(arguments) is not dict:
            raise BadRequest(f"'{inner}.arguments' must be a string of JSON.", f"{inner}.arguments")
        text = arguments_text(arguments)
        if text is None:
            raise BadRequest(f"'{inner}.arguments' is nested too deeply.", f"{inner}.arguments")
        calls.append(
            ToolUse(
                call_id,
                require_string(function, "name", inner),
                text,
                cache=read_cache(call),
                signature=signature_of(call),
            )
        )
    return calls


def arguments_text(arguments: Any) -> str | None:
    """Arguments as the text they should be; some servers and clients send the object itself. None for one that cannot
    be written: nested deeper than the encoder goes."""
    if arguments is None:
        return ""
    if type(arguments) is str:
        return arguments
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        return None


def signature_of(call: Json) -> str | None:
    """The signature that Google's models attach to a call."""
    extra = call.get("extra_content")
    google = extra.get("google") if type(extra) is dict else None
    signature = google.get("thought_signature") if type(google) is dict else None
    return signature if type(signature) is str and signature else None


def tagged_signature(call: Json) -> str | None:
    """The same of an upstream's call, in the form in which Google's own dialect will know it again."""
    signature = signature_of(call)
    return None if signature is None else SIGNATURE_TAG + signature


def untagged_signature(call: ToolUse) -> str | None:
    """What an upstream may be sent as the signature of a call: Google's only."""
    if call.signature is None or not call.signature.startswith(SIGNATURE_TAG):
        return None
    return call.signature.removeprefix(SIGNATURE_TAG)


def render_sent_call(call: ToolUse, own: bool) -> Json:
    """A tool call of a request. `own`: its client speaks this dialect."""
    if call.custom and not own:
        call = ToolUse(call.id, call.name, orjson.dumps(wrap(call.arguments)).decode())
    return render_call(call, untagged_signature(call))


def render_call(call: ToolUse, signature: str | None) -> Json:
    """A tool call, of a request or of an answer."""
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    function: Json = {"name": call.name, "arguments": call.arguments or "{}"}
    rendered: Json = {"id": call.id, "type": "function", "function": function}
    if signature is not None:
        rendered["extra_content"] = {"google": {"thought_signature": signature}}
    return rendered


def render_tools(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    """Put tools and the choice among them into the request `body`. Raises Untranslatable for a provider's own tool
    that this dialect has nothing for: without it the answer would be another one."""
    own = conversation.notes.get("dialect") == "chat"
    tools: list[Json] = []
    for number, tool in enumerate(conversation.tools):
        if tool.cache is not None:
            dropped.add("cache_control")
        if tool.opaque is None:
            if tool.custom and not own and tool.grammar is not None and tool.grammar.get("type") != "text":
                dropped.add(f"tools[{number}].format")
            tools.append(_render_tool(tool, own))
        elif own:
            tools.append(tool.opaque)
        elif str(tool.opaque.get("type")).startswith("web_search"):
            body.setdefault("web_search_options", _web_search(tool.opaque, f"tools[{number}]", dropped))
        else:
            kind = tool.opaque.get("type") or tool.name
            raise Untranslatable(f"This model's API has no tool of the type '{kind}'.", f"tools[{number}]")
    if not tools:  # a choice, or a limit to one call, is an error where there are no tools
        return
    body["tools"] = tools
    if conversation.tool_choice is not None:
        custom = {tool.name for tool in conversation.tools if tool.custom and own}
        body["tool_choice"] = _render_choice(conversation.tool_choice, custom)
    if conversation.parallel_tools is not None:
        body["parallel_tool_calls"] = conversation.parallel_tools


def _parse_tool(value: Json, path: str) -> Tool:
    kind = require_string(value, "type", path)
    if kind == "function":
        # The flat form is that of the responses dialect; clients mix them up.
        flat = "function" not in value and "name" in value
        function = value if flat else require_object(value, "function", path)
        tool = _parse_function(function, path if flat else join_path(path, "function"))
        tool.cache = read_cache(value) or tool.cache
        return tool
    if kind == "custom":
        place = join_path(path, "custom")
        custom = require_object(value, "custom", path)
        return Tool(
            require_string(custom, "name", place),
            description=read_string(custom, "description", place),
            custom=True,
            grammar=_flatten_grammar(read_object(custom, "format", place)),
        )
    name = value.get("name")
    return Tool(name if type(name) is str else kind, opaque=value)


def _parse_function(function: Json, path: str) -> Tool:
    return Tool(
        require_string(function, "name", path),
        description=read_string(function, "description", path),
        schema=read_object(function, "parameters", path),
        strict=read_boolean(function, "strict", path),
        cache=read_cache(function),
    )


def _flatten_grammar(form: Json | None) -> Json | None:
    """The responses dialect's form of a format, {type, definition, syntax}; here it is nested under `grammar`."""
    grammar = form.get("grammar") if form is not None else None
    return {"type": "grammar", **grammar} if type(grammar) is dict else form


def _nest_grammar(form: Json) -> Json:
    if form.get("type") != "grammar" or "grammar" in form:
        return form
    return {"type": "grammar", "grammar": {key: value for key, value in form.items() if key != "type"}}


def _parse_choice(choice: Any, path: str) -> ToolChoice:
    if type(choice) is str:
        mode = _MODES.get(choice)
        if mode is None:
            raise BadRequest(f"'{path}' must be none, auto, required or an object.", path)
        return _choice_of(mode)
    if type(choice) is not dict:
        raise BadRequest(f"'{path}' must be a string or an object.", path)
    kind = choice.get("type", "function")
    if kind == "allowed_tools":
        place = join_path(path, "allowed_tools")
        allowed = require_object(choice, "allowed_tools", path)
        mode = _MODES.get(require_string(allowed, "mode", place))
        if mode is None:
            raise BadRequest(f"'{place}.mode' must be auto or required.", f"{place}.mode")
        result = _choice_of(mode)
        result.allowed = [
            _tool_name(require_element(tool, f"{place}.tools[{number}]"), f"{place}.tools[{number}]")
            for number, tool in enumerate(read_array(allowed, "tools", place) or [])
        ]
        return result
    if kind in ("function", "custom"):
        return ToolChoice("tool", name=_tool_name(choice, path))
    raise BadRequest(f"'{path}.type' must be function, custom or allowed_tools.", f"{path}.type")


def _choice_of(mode: str) -> ToolChoice:
    if mode == "none":
        return ToolChoice("none")
    return ToolChoice("any") if mode == "any" else ToolChoice("auto")


def _tool_name(value: Json, path: str) -> str:
    """The name in {"type": "function", "function": {"name"}}, in the custom form, or in the flat one."""
    kind = "custom" if value.get("type") == "custom" else "function"
    if kind not in value and "name" in value:
        return require_string(value, "name", path)
    return require_string(require_object(value, kind, path), "name", join_path(path, kind))


def _render_tool(tool: Tool, own: bool) -> Json:
    described: Json = {"name": tool.name}
    if tool.description is not None:
        described["description"] = tool.description
    if tool.custom and not own:
        described["parameters"] = schema_of(tool)
        return {"type": "function", "function": described}
    if tool.custom:
        if tool.grammar is not None:
            described["format"] = _nest_grammar(tool.grammar)
        return {"type": "custom", "custom": described}
    # OpenAI reads no parameters as none; others want the schema.
    described["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    if tool.strict is not None:
        described["strict"] = tool.strict
    return {"type": "function", "function": described}


def _render_choice(choice: ToolChoice, custom: set[str]) -> Any:
    """`custom` are the names of the free-text tools."""
    mode = "required" if choice.mode == "any" else choice.mode
    if choice.mode == "tool":
        return _named(choice.name or "", custom)
    if choice.allowed is not None and choice.mode != "none":
        allowed = [_named(name, custom) for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": allowed}}
    return mode


def _named(name: str, custom: set[str]) -> Json:
    kind = "custom" if name in custom else "function"
    return {"type": kind, kind: {"name": name}}


def _web_search(tool: Json, path: str, dropped: Dropped) -> Json:
    """`web_search_options` for a web search tool of the messages or the responses dialect. Raises Untranslatable for a
    limit to some domains."""
    options: Json = {}
    for name, value in tool.items():
        if name in _SEARCH_LIMITS and value:
            raise Untranslatable("This model's API searches the whole web, or not at all.", f"{path}.{name}")
        if name not in _SEARCH_FIELDS and value is not None:
            dropped.add(f"{path}.{name}")
    size, location = tool.get("search_context_size"), tool.get("user_location")
    if type(size) is str:
        options["search_context_size"] = size
    if type(location) is dict:
        place = {key: value for key, value in location.items() if key != "type" and value is not None}
        options["user_location"] = {"type": "approximate", "approximate": place}
    return options
