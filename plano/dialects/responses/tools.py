"""Tools of the responses dialect and the choice among them. Source: OpenAI API reference, "Create a model response",
`tools` and `tool_choice`; guide "Function calling" (custom tools, namespaces, allowed_tools).

The hub knows flat names only. A namespace's members are hoisted under their own names; where two tools would then be
called the same, the member goes by `<namespace>__<name>`. `ToolNames` knows the way there and back.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plano.dialects.chat.fields import (
    join_path,
    read_array,
    read_boolean,
    read_object,
    read_string,
    require_string,
)
from plano.dialects.conversation import (
    BadRequest,
    Conversation,
    Dropped,
    Json,
    Tool,
    ToolChoice,
    Untranslatable,
)

# Tools that the provider runs itself. Their calls and results are items of their own.
HOSTED_TOOLS: Final = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)

_ANTHROPIC_WEB_SEARCH: Final = re.compile(r"web_search_\d{8}")
# What is told of such a tool, or refused.
_SEARCH_FIELDS: Final = frozenset({"type", "name", "allowed_domains", "blocked_domains", "user_location"})
_MODES: Final = {"auto": "auto", "any": "required", "none": "none"}


class ToolNames:
    """The names of a request's tools, as the client wrote them and as the hub has them. `tools` is the request's array
    as it came; what is not understood of it is left out (`parse_tools` is the one to complain)."""

    def __init__(self, tools: Any) -> None:
        self._hub_names: dict[tuple[str, str], str] = {}
        self._members: dict[str, tuple[str, str]] = {}
        if type(tools) is not list:
            return
        taken: set[str] = set()
        members: list[tuple[str, str]] = []
        for tool in tools:
            if type(tool) is not dict:
                continue
            name = tool.get("name")
            inner = tool.get("tools")
            if type(name) is not str:
                continue
            if tool.get("type") != "namespace" or type(inner) is not list:
                taken.add(name)
                continue
            for member in inner:
                member_name = member.get("name") if type(member) is dict else None
                if type(member_name) is str:
                    members.append((name, member_name))
        counts: dict[str, int] = {}
        for _, name in members:
            counts[name] = counts.get(name, 0) + 1
        for namespace, name in members:
            hub_name = name if counts[name] == 1 and name not in taken else f"{namespace}__{name}"
            self._hub_names[namespace, name] = hub_name
            self._members[hub_name] = (namespace, name)

    def join(self, namespace: str | None, name: str) -> str:
        """The hub's name of a tool."""
        return name if namespace is None else self._hub_names.get((namespace, name), name)

    def split(self, hub_name: str) -> tuple[str | None, str]:
        """The client's namespace, if there is one, and name of a tool."""
        return self._members.get(hub_name, (None, hub_name))


def parse_tools(tools: list[Any], names: ToolNames) -> list[Tool]:
    parsed: list[Tool] = []
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if type(tool) is not dict:
            raise BadRequest(f"'{path}' must be an object.", path)
        kind = require_string(tool, "type", path)
        if kind != "namespace":
            parsed.append(_parse_tool(tool, kind, None, names, path))
            continue
        namespace = require_string(tool, "name", path)
        for position, member in enumerate(read_array(tool, "tools", path) or []):
            where = f"{path}.tools[{position}]"
            if type(member) is not dict:
                raise BadRequest(f"'{where}' must be an object.", where)
            inner = require_string(member, "type", where)
            if inner not in ("function", "custom"):
                raise BadRequest(f"'{where}.type' must be function or custom inside a namespace.", f"{where}.type")
            parsed.append(_parse_tool(member, inner, namespace, names, where))
    return parsed


def _parse_tool(tool: Json, kind: str, namespace: str | None, names: ToolNames, path: str) -> Tool:
    if kind == "function":
        return Tool(
            names.join(namespace, require_string(tool, "name", path)),
            read_string(tool, "description", path),
            read_object(tool, "parameters", path),
            read_boolean(tool, "strict", path),
        )
    if kind == "custom":
        return Tool(
            names.join(namespace, require_string(tool, "name", path)),
            read_string(tool, "description", path),
            custom=True,
            grammar=read_object(tool, "format", path),
        )
    return Tool(kind, opaque=tool)


def parse_tool_choice(choice: Any, names: ToolNames) -> ToolChoice | None:
    if choice is None:
        return None
    if type(choice) is str:
        if choice == "auto":
            return ToolChoice("auto")
        if choice == "required":
            return ToolChoice("any")
        if choice == "none":
            return ToolChoice("none")
        raise BadRequest("'tool_choice' must be auto, required, none or an object.", "tool_choice")
    if type(choice) is not dict:
        raise BadRequest("'tool_choice' must be a string or an object.", "tool_choice")
    kind = require_string(choice, "type", "tool_choice")
    if kind == "allowed_tools":
        mode = require_string(choice, "mode", "tool_choice")
        if mode not in ("auto", "required"):
            raise BadRequest("'tool_choice.mode' must be auto or required.", "tool_choice.mode")
        allowed = _parse_allowed(read_array(choice, "tools", "tool_choice") or [], names)
        return ToolChoice("auto", allowed=allowed) if mode == "auto" else ToolChoice("any", allowed=allowed)
    if kind in ("function", "custom"):
        return ToolChoice("tool", names.join(*_read_name(choice, "tool_choice")))
    return ToolChoice("tool", kind)


def _parse_allowed(tools: list[Any], names: ToolNames) -> list[str]:
    allowed: list[str] = []
    for index, tool in enumerate(tools):
        path = f"tool_choice.tools[{index}]"
        if type(tool) is not dict:
            raise BadRequest(f"'{path}' must be an object.", path)
        kind = require_string(tool, "type", path)
        allowed.append(names.join(*_read_name(tool, path)) if kind in ("function", "custom") else kind)
    return allowed


def _read_name(choice: Json, path: str) -> tuple[str | None, str]:
    return read_string(choice, "namespace", path), require_string(choice, "name", path)


def render_tools(conversation: Conversation, dropped: Dropped) -> list[Json]:
    """The tools for an upstream of this dialect, namespaces hoisted."""
    native = conversation.notes.get("dialect") == "responses"
    tools: list[Json] = []
    for index, tool in enumerate(conversation.tools):
        if tool.cache is not None:
            dropped.add("cache_control")
        if tool.opaque is not None:
            tools.append(_render_hosted(tool.opaque, native, f"tools[{index}]", dropped))
            continue
        rendered: Json = {"type": "custom" if tool.custom else "function", "name": tool.name}
        if tool.description is not None:
            rendered["description"] = tool.description
        if tool.custom:
            if tool.grammar is not None:
                rendered["format"] = tool.grammar
        else:
            rendered["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
            # Said nothing, this API tries strict mode, where every property is required; the others do not.
            if tool.strict is not None or not native:
                rendered["strict"] = tool.strict is True
        tools.append(rendered)
    options = conversation.extra.get("web_search_options")
    if type(options) is dict:
        tools.append(_render_web_search_options(options))
    return tools


def _render_hosted(tool: Json, native: bool, path: str, dropped: Dropped) -> Json:
    kind = str(tool.get("type"))
    if native or kind in HOSTED_TOOLS:
        return tool
    if _ANTHROPIC_WEB_SEARCH.fullmatch(kind) is None:
        raise Untranslatable(f"'{path}': the upstream of this model has no tool of type '{kind}'.", path)
    search: Json = {"type": "web_search"}
    if type(tool.get("allowed_domains")) is list:
        search["filters"] = {"allowed_domains": tool["allowed_domains"]}
    if tool.get("blocked_domains"):
        raise Untranslatable(
            f"'{path}.blocked_domains': the upstream of this model can only be told which domains to search.",
            join_path(path, "blocked_domains"),
        )
    if type(tool.get("user_location")) is dict:
        search["user_location"] = tool["user_location"]
    for name, value in tool.items():
        if name not in _SEARCH_FIELDS and value is not None:
            dropped.add(f"{path}.{name}")
    return search


def _render_web_search_options(options: Json) -> Json:
    """Chat completions' `web_search_options` as the tool it is here."""
    search: Json = {"type": "web_search"}
    if type(options.get("search_context_size")) is str:
        search["search_context_size"] = options["search_context_size"]
    location = options.get("user_location")
    if type(location) is dict:
        place = location.get("approximate")
        search["user_location"] = {"type": "approximate", **place} if type(place) is dict else location
    return search


def render_tool_choice(choice: ToolChoice, tools: list[Tool]) -> Any:
    """A string or an object, as `tool_choice` wants it."""
    kinds = {tool.name: tool for tool in tools}
    if choice.allowed is not None and choice.mode in ("auto", "any"):
        allowed = [_refer(name, kinds.get(name)) for name in choice.allowed]
        return {"type": "allowed_tools", "mode": _MODES[choice.mode], "tools": allowed}
    if choice.mode == "tool":
        name = choice.name or ""
        return _refer(name, kinds.get(name))
    return _MODES[choice.mode]


def _refer(name: str, tool: Tool | None) -> Json:
    if tool is not None and tool.opaque is not None:
        kind = "web_search" if _ANTHROPIC_WEB_SEARCH.fullmatch(name) else name
        return {"type": kind}
    return {"type": "custom" if tool is not None and tool.custom else "function", "name": name}
