"""`agents` and `filters`: HTTP and MCP services that Plano calls on the way of a request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plano.config.schema.providers import RetryPolicy
from plano.config.schema.quantities import PositiveDuration
from plano.config.schema.section import HttpUrl, Section, Text


class Agent(Section):
    """An agent that is reached over HTTP."""

    id: Text = Field(description="Unique id, among filters too.")
    url: HttpUrl = Field(repr=False, description="Base address of the agent. Requests go to it plus the client's path.")
    retry_policy: RetryPolicy | None = Field(
        None,
        description="How calls of the agent are tried again, as for a provider; it has no `fallback_models`. "
        "Default: two attempts.",
    )
    forward_headers: list[Text] | None = Field(
        None, description="Credentials of the client that the agent gets: `authorization`, `x-api-key`. Absent: none."
    )


class Filter(Section):
    """A service that may change or stop a request or an answer."""

    id: Text = Field(description="Unique id, among agents too.")
    url: HttpUrl = Field(repr=False, description="Address of the filter.")
    type: Literal["mcp", "http"] = Field("mcp", description="What the filter speaks.")
    transport: Literal["streamable-http"] | None = Field(None, description="MCP transport.")
    tool: Text | None = Field(None, description="MCP tool that is called. Default: `id`.")
    on_failure: Literal["allow", "block"] = Field(
        "block", description="When the filter cannot be reached or breaks: `allow` goes on without it, `block` refuses."
    )
    mode: Literal["event", "buffered"] = Field(
        "event", description="How an output filter sees a stream: event by event, or `buffered`, the whole at once."
    )
    timeout: PositiveDuration | None = Field(None, description="Longest time of one call. Default: 10s.")
    forward_headers: list[Text] | None = Field(
        None, description="Client headers that are sent on to the filter. Absent: all but credentials and cookies."
    )
