"""Agents, filters and prompt targets of a validated file, made into plans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, cast
from urllib.parse import quote, urlsplit

from plano.config.compiling_retry import compile_retry
from plano.config.migration import declared_listeners
from plano.config.plan import (
    AgentPlan,
    EndpointPlan,
    FilterPlan,
    ParameterPlan,
    ProviderPlan,
    RetryPlan,
    TargetCallPlan,
    TargetPlan,
)
from plano.config.schema.agents import Agent
from plano.config.schema.file import PlanoFile
from plano.config.schema.functions import Parameter, PromptTarget
from plano.config.schema.listeners import Listener

FILTER_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
AGENT_RETRY: Final = RetryPlan(attempts=2, backoff_base_s=0.1, backoff_max_s=1.0)
# What an agent is called at, after the path of its own url.
_AGENT_PATHS: Final = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
# Python's names of types, as prompt targets give them (spec 1.5), and those of JSON Schema.
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "list": {"type": "array"},
    "tuple": {"type": "array"},
    "set": {"type": "array", "uniqueItems": True},
    "dict": {"type": "object"},
}
JSON_TYPES: Final = frozenset({"integer", "number", "boolean", "string", "array", "object"})
_CREDENTIALS: Final = frozenset({"authorization", "x-api-key"})


def compile_agents(config: PlanoFile, listener: Listener) -> tuple[AgentPlan, ...]:
    """The agents of a listener, in its order."""
    known = {agent.id: agent for agent in config.agents or ()}
    return tuple(
        AgentPlan(
            id=entry.id,
            description=entry.description,
            provider=_compile_agent(known[entry.id]),
            default=entry.default,
            filters=tuple(entry.filters),
            on_failure=entry.on_failure,
        )
        for entry in listener.agents or ()
        if entry.id in known  # the checks have complained about the others
    )


def compile_filters(config: PlanoFile) -> tuple[FilterPlan, ...]:
    """All filters of the file. An agent in a chain of filters is one too: over MCP, as a filter without a type is."""
    steps = {step for _, listener in declared_listeners(config) for step in _list_steps(listener)}
    agents = [
        FilterPlan(id=agent.id, type="mcp", url=agent.url, tool=agent.id)
        for agent in config.agents or ()
        if agent.id in steps
    ]
    return *agents, *(
        FilterPlan(
            id=one.id,
            type=one.type,
            url=one.url,
            tool=one.tool or one.id,
            on_failure=one.on_failure,
            mode=one.mode,
            forward_headers=None if one.forward_headers is None else _lower(one.forward_headers),
            timeout_s=one.timeout or FILTER_TIMEOUT_S,
        )
        for one in config.filters or ()
    )


def serves_targets(config: PlanoFile, listener: Listener) -> bool:
    """Are the file's prompt targets tried at this listener? At every prompt listener; in a file that has targets but
    none of those at its agent listeners."""
    if listener.type == "prompt":
        return True
    declared = [other.type for _, other in declared_listeners(config)]
    return listener.type == "agent" and bool(config.prompt_targets) and "prompt" not in declared


def describes_type(name: str) -> bool:
    """Is this a type of Python or JSON Schema that a parameter may have?"""
    kind = name.strip().lower()
    return kind in _TYPES or kind in JSON_TYPES


def _list_steps(listener: Listener) -> Iterator[str]:
    """The ids in all chains of filters of a listener."""
    yield from listener.filters
    yield from listener.output_filters or ()
    for agent in listener.agents or ():
        yield from agent.filters


def compile_targets(config: PlanoFile) -> tuple[TargetPlan, ...]:
    """All prompt targets of the file."""
    return tuple(
        TargetPlan(
            name=target.name,
            description=target.description,
            parameters=tuple(_compile_parameter(parameter) for parameter in target.parameters or ()),
            call=_compile_call(config, target),
            default=target.default,
            dispatch=target.auto_llm_dispatch_on_response,
            system_prompt=target.system_prompt,
        )
        for target in config.prompt_targets or ()
    )


def _compile_agent(agent: Agent) -> ProviderPlan:
    scheme, host, port, authority, path = _split(agent.url)
    forwarded = _lower(agent.forward_headers or ())
    return ProviderPlan(
        name=agent.id,
        model=agent.id,
        provider="(agent)",  # no provider is called like that
        owned_by="agent",
        upstream_model="",
        scheme=scheme,
        host=host,
        port=port,
        authority=authority,
        endpoints=tuple(
            EndpointPlan(cast(Any, dialect), path + suffix, path + suffix) for dialect, suffix in _AGENT_PATHS.items()
        ),
        base_path=path,
        usage_in_streams=False,
        verbatim=True,
        passthrough_auth=bool(_CREDENTIALS.intersection(forwarded)),
        retry=compile_retry(agent.retry_policy, AGENT_RETRY),
        internal=True,
    )


def _compile_parameter(parameter: Parameter) -> ParameterPlan:
    kind = parameter.type.strip().lower()
    schema: dict[str, Any] = dict(_TYPES.get(kind, {"type": kind if kind in JSON_TYPES else "string"}))
    schema["description"] = parameter.description
    for key in ("enum", "format", "items", "default"):
        value = getattr(parameter, key)
        if value is not None:
            schema[key] = value
    return ParameterPlan(
        name=parameter.name,
        schema=schema,
        required=parameter.required,
        in_path=parameter.in_path,
        default=parameter.default,
    )


def _compile_call(config: PlanoFile, target: PromptTarget) -> TargetCallPlan | None:
    """The call of a target; None for one without an endpoint."""
    called = target.endpoint
    if called is None:
        return None
    headers = tuple((called.http_headers or {}).items())
    endpoint = (config.endpoints or {}).get(called.name)
    if endpoint is None:
        (agent,) = [agent for agent in config.agents or () if agent.id == called.name]
        url, host, connect_timeout_s = agent.url.rstrip("/"), None, CONNECT_TIMEOUT_S
    else:
        url, host = f"{endpoint.protocol or 'http'}://{endpoint.endpoint}", endpoint.http_host
        connect_timeout_s = endpoint.connect_timeout or CONNECT_TIMEOUT_S
    return TargetCallPlan(
        name=called.name,
        url=url,
        path=called.path,
        method=called.http_method,
        host=host,
        headers=headers,
        connect_timeout_s=connect_timeout_s,
    )


def _split(url: str) -> tuple[Literal["http", "https"], str, int, str, str]:
    """(scheme, host, port, authority, path without a slash at its end)."""
    parts = urlsplit(url)
    scheme = cast(Literal["http", "https"], parts.scheme.lower())
    host = parts.hostname or ""
    standard_port = 443 if scheme == "https" else 80
    port = parts.port or standard_port
    authority = f"[{host}]" if ":" in host else host
    if port != standard_port:
        authority += f":{port}"
    return scheme, host, port, authority, quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")


def _lower(names: Any) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
