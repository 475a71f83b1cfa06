"""OpenAI's own description of its API, as something to check answers against."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

DOCUMENT = Path(__file__).parents[2].parent / "shared" / "spec" / "openai-openapi.yaml.gz"


@cache
def load_schemas() -> dict[str, Any]:
    """Return the document's components. Skips the test where ../shared does not lie beside the checkout."""
    if not DOCUMENT.exists():
        pytest.skip(f"{DOCUMENT} is not here")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with gzip.open(DOCUMENT) as file:
        document = yaml.load(file, Loader=loader)
    return {"schemas": _spell_nullable(document["components"]["schemas"])}


def check(name: str, value: Any) -> None:
    """Raise jsonschema's ValidationError where a value is not what the schema of that name describes."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": load_schemas()}
    jsonschema.Draft202012Validator(schema).validate(value)


def check_any(name: str, value: Any) -> None:
    """Like `check`, where the document says `oneOf` and means the one that `type` tells: without that, a value that is
    right in several ways would be wrong."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": _load_tolerant()}
    jsonschema.Draft202012Validator(schema).validate(value)


@cache
def _load_tolerant() -> dict[str, Any]:
    tolerant: dict[str, Any] = _replace_one_of(load_schemas())
    return tolerant


def _replace_one_of(node: Any) -> Any:
    if isinstance(node, list):
        return [_replace_one_of(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {"anyOf" if key == "oneOf" else key: _replace_one_of(value) for key, value in node.items()}


def _spell_nullable(node: Any) -> Any:
    # Parts of the document still say `nullable`, which OpenAPI 3.1, and so jsonschema, knows nothing of.
    if isinstance(node, list):
        return [_spell_nullable(each) for each in node]
    if not isinstance(node, dict):
        return node
    spelled = {key: _spell_nullable(value) for key, value in node.items()}
    if spelled.pop("nullable", False) is True and ("type" in spelled or "$ref" in spelled):
        return {"anyOf": [spelled, {"type": "null"}]}
    return spelled
