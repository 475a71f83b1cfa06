"""Bedrock as botocore knows it: the service's own model checks requests, its decoder checks frames."""

from __future__ import annotations

import base64
from functools import cache
from itertools import pairwise
from typing import Any

import orjson
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from plano.dialects.converse.eventstream import encode_frame


@cache
def service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


def check_request(body: dict[str, Any]) -> None:
    """Fail unless `body` is what the Converse operation takes, down to every name and type."""
    shape = service().operation_model("Converse").input_shape
    report = ParamValidator().validate({"modelId": "m", **_with_bytes(body, shape)}, shape)
    assert not report.has_errors(), report.generate_report()
    for message in body["messages"]:
        assert message["content"]
        for block in message["content"]:
            assert block.get("text", "x").strip()
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))


def event(name: str, payload: Any) -> bytes:
    """A frame as ConverseStream sends it."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, orjson.dumps(payload))


def exception(name: str, payload: Any) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(headers, orjson.dumps(payload))


def stream(*events: tuple[str, Any]) -> bytes:
    return b"".join(event(name, payload) for name, payload in events)


def _with_bytes(value: Any, shape: Shape | None) -> Any:
    """JSON has blobs as base64, botocore's parameters have bytes."""
    if shape is None or getattr(shape, "is_document_type", False):
        return value
    if shape.type_name == "structure" and isinstance(value, dict):
        return {name: _with_bytes(inner, shape.members.get(name)) for name, inner in value.items()}
    if shape.type_name == "list" and isinstance(value, list):
        return [_with_bytes(inner, shape.member) for inner in value]
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    return value
