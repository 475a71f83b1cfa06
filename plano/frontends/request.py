"""A parsed client request, and what each of its headers is to the gateway."""

from __future__ import annotations

import time
from typing import Final

from plano.frontends.errors import GatewayError

# What a request header is to us; every other header travels on as it is.
DROP: Final = 0
AUTHORIZATION: Final = 1
API_KEY: Final = 2
REQUEST_ID: Final = 3
TRACEPARENT: Final = 4
TRACESTATE: Final = 5
LENGTH: Final = 6
HOST: Final = 7
EXPECT: Final = 8
TRANSFER: Final = 9
CODING: Final = 10
CONNECTION: Final = 11
TYPE: Final = 12

# Request headers that do not travel on as they are. Dropped: what concerns this hop (RFC 9110, 7.6.1), what is said
# anew for the upstream, and what a provider has no business knowing (cookies, the path the request took to us).
REQUEST_HEADERS: Final[dict[bytes, int]] = {
    b"connection": CONNECTION,
    b"keep-alive": DROP,
    b"proxy-authorization": DROP,
    b"proxy-connection": DROP,
    b"te": DROP,
    b"trailer": DROP,
    b"upgrade": DROP,
    b"http2-settings": DROP,
    b"accept-encoding": DROP,
    b"content-type": TYPE,
    b"cookie": DROP,
    b"forwarded": DROP,
    b"via": DROP,
    b"x-forwarded-for": DROP,
    b"x-forwarded-host": DROP,
    b"x-forwarded-port": DROP,
    b"x-forwarded-proto": DROP,
    b"x-real-ip": DROP,
    b"x-model-affinity": DROP,
    b"x-plano-cache": DROP,
    b"x-plano-max-switch-spend-pct": DROP,
    b"x-arch-llm-provider-hint": DROP,
    b"x-arch-ratelimit-selector": DROP,
    b"authorization": AUTHORIZATION,
    b"x-api-key": API_KEY,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACEPARENT,
    b"tracestate": TRACESTATE,
    b"content-length": LENGTH,
    b"host": HOST,
    b"expect": EXPECT,
    b"transfer-encoding": TRANSFER,
    b"content-encoding": CODING,
}


class Request:
    """One parsed request. `lines` are the end-to-end headers, ready to be written upstream.

    `received_s` is the monotonic time of its first byte. `connection_line` is the `connection:` header line the answer
    must carry, mostly empty. `chunked_ok`: the client speaks HTTP/1.1. `error` is set when the request must be refused.
    """

    __slots__ = (
        "api_key",
        "authorization",
        "body",
        "chunked_ok",
        "connection_line",
        "connection_seen",
        "content_coding",
        "content_type",
        "dialect",
        "error",
        "expect",
        "hosts",
        "keep_alive",
        "length",
        "lines",
        "method",
        "nominated",
        "received_s",
        "request_id",
        "target",
        "traceparent",
        "tracestate",
        "transfer_coding",
    )

    def __init__(self) -> None:
        self.received_s = time.monotonic()
        self.method = b""
        self.target = b""
        self.lines: list[bytes] = []
        self.authorization: bytes | None = None
        self.api_key: bytes | None = None
        self.request_id: bytes | None = None
        self.traceparent: bytes | None = None
        self.tracestate: bytes | None = None
        self.content_coding: bytes | None = None
        self.content_type = b""  # travels on where the body may be something else than JSON
        self.transfer_coding: bytes | None = None
        self.expect: bytes | None = None
        self.length = 0
        self.hosts = 0
        self.body = b""
        self.keep_alive = True
        self.chunked_ok = True
        self.connection_seen = False
        self.nominated = b""  # what Connection names besides keep-alive and close
        self.connection_line = b""
        self.dialect = "chat"  # the shape of error answers; set when the path is known
        self.error: GatewayError | None = None


NO_REQUEST: Final = Request()  # stands for "none": one comparison where a None would cost a check at every use
