"""Writes the generated parts of the documentation, from what the code says of itself.

    python docs/reference.py            write them
    python docs/reference.py --check    exit status 1 when one of them is not up to date

A generated part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the text around it is not touched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plano.config.schema.file import json_schema
from plano.config.settings import Settings
from plano.telemetry import names
from plano.telemetry.cluster import ClusterPicture
from plano.telemetry.exposition import Scrape
from plano.telemetry.metrics import RequestMetrics
from plano.telemetry.names import MetricName
from plano.upstreams.catalogue import catalogue

FOLDER = Path(__file__).parent
EVERYTHING = "*"

# What this version acts on. Everything else is checked when the file is loaded, and waits for its feature.
SERVED: dict[str, frozenset[str] | str] = {
    "PlanoFile": frozenset(
        {
            "version",
            "listeners",
            "model_providers",
            "llm_providers",
            "model_aliases",
            "overrides",
            "prompt_guards",
            "routing_preferences",
            "inference",
            "endpoints",
            "prompt_targets",
            "system_prompt",
        }
    ),
    "Listener": frozenset({"name", "type", "port", "address", "timeout", "max_retries", "tls"}),
    "ListenerTls": EVERYTHING,
    "LegacyListeners": EVERYTHING,
    "LegacyListener": frozenset({"address", "port", "timeout"}),
    "ModelProvider": frozenset(
        {
            "model",
            "name",
            "access_key",
            "default",
            "base_url",
            "passthrough_auth",
            "http_host",
            "provider_interface",
            "region",
            "headers",
            "retry_policy",
        }
    ),
    "RetryPolicy": EVERYTHING,
    "Backoff": EVERYTHING,
    "CircuitBreaker": EVERYTHING,
    "ModelAlias": EVERYTHING,
    "PromptGuards": EVERYTHING,
    "InputGuards": EVERYTHING,
    "JailbreakGuard": EVERYTHING,
    "OnException": EVERYTHING,
    "Endpoint": frozenset({"endpoint", "connect_timeout", "protocol", "http_host"}),
    "PromptTarget": EVERYTHING,
    "Parameter": EVERYTHING,
    "TargetEndpoint": EVERYTHING,
    "RoutingPreference": frozenset({"name", "description", "models"}),
    "Overrides": frozenset(
        {
            "upstream_connect_timeout",
            "upstream_tls_ca_path",
            "llm_routing_model",
            "agent_orchestration_model",
            "orchestrator_model_context_length",
        }
    ),
    "Inference": EVERYTHING,
    "Role": EVERYTHING,
    "GuardRole": EVERYTHING,
    "FunctionRole": EVERYTHING,
    "Curve": EVERYTHING,
}


def render_config() -> str:
    """Every key of the config file, one table per section, in the order in which the file refers to them."""
    schema = json_schema()
    sections = {"PlanoFile": schema, **schema["$defs"]}
    parts = [_render_section(name, sections[name]) for name in _order(sections)]
    return "\n".join(parts)


def render_providers() -> str:
    """Every known provider: its names, where it is and what it speaks."""
    lines = ["| Prefix | Address | Dialects | Key from |", "|---|---|---|---|"]
    for entry in catalogue().values():
        names = " or ".join(f"`{name}/`" for name in (entry.prefix, *entry.aliases))
        where = f"`{entry.host}{entry.locate()}`" if entry.host and not entry.needs_base_url else "`base_url` is needed"
        key = f"`{entry.key_env}`" if entry.key_env else ""
        lines.append(f"| {names} | {where} | {', '.join(entry.dialects)} | {key} |")
    return "\n".join(lines) + "\n"


def render_settings() -> str:
    """Every setting of the processes."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        description = (field.description or "").replace("|", "\\|")
        nothing = field.default_factory is not None or field.default in (None, ())
        default = "" if nothing else f"`{field.default}`"
        lines.append(f"| `PLANO_{name.upper()}` | {default} | {description} |")
    return "\n".join(lines) + "\n"


def render_metrics() -> str:
    """Every metric of the admin port, by the name it has there."""
    kinds = {family.name: family.type for family in Scrape(RequestMetrics(), ClusterPicture(), 0, "", 0.0).collect()}
    lines = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for metric in (value for value in vars(names).values() if isinstance(value, MetricName)):
        kind = kinds[metric.name]
        name = f"{metric.name}_total" if kind == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {kind} | {labels} | {metric.help.replace('<', chr(92) + '<')} |")
    return "\n".join(lines) + "\n"


PARTS = {
    "configuration.md": {"providers": render_providers, "config keys": render_config, "settings": render_settings},
    "operations.md": {"metrics": render_metrics},
}


def render_page(page: str, text: str) -> str:
    """The text of a page with its generated parts made anew. Raises ValueError when a part has no place in it."""
    for name, render in PARTS[page].items():
        place = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        text, count = place.subn(lambda match: f"{match[1]}\n{render()}\n{match[2]}", text)  # noqa: B023 - used at once
        if count != 1:
            raise ValueError(f"docs/{page} has {count} places for `{name}`")
    return text


def _order(sections: dict[str, Any]) -> Iterator[str]:
    """Sections as they are reached from the top of the file, each once."""
    seen: list[str] = []

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.append(name)
        for reference in _references(sections[name]["properties"]):
            visit(reference)

    visit("PlanoFile")
    missed = sections.keys() - set(seen)
    if missed:
        raise ValueError(f"sections that nothing refers to: {', '.join(sorted(missed))}")
    yield from seen


def _references(node: Any) -> Iterator[str]:
    """Names of the sections that a part of the schema refers to, in its order."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for key, value in node.items():
            if key != "discriminator":  # says the same again
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _render_section(name: str, section: dict[str, Any]) -> str:
    served = SERVED.get(name, frozenset())
    required = section.get("required", ())
    title = "The file" if name == "PlanoFile" else name
    lines = [f"### {title}", "", _first_sentence(section["description"]), ""]
    if not served:
        lines += ["*Checked, not acted on yet.*", ""]
    lines += ["| Key | Type | Meaning |", "|---|---|---|"]
    for key, node in section["properties"].items():
        notes = []
        if key in required:
            notes.append("**Required.**")
        waits = served and served != EVERYTHING and key not in served
        if waits and "without effect" not in node["description"]:
            notes.append("*Not acted on yet.*")
        default = node.get("default")
        if default is not None and "Default" not in node["description"]:
            notes.append(f"Default: `{_spell(default)}`.")
        meaning = " ".join([node["description"], *notes]).replace("|", "\\|")
        lines.append(f"| `{key}` | {_describe_type(node)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _first_sentence(text: str) -> str:
    return text.partition("\n\n")[0].partition(". `")[0].replace("\n", " ").rstrip(".") + "."


def _spell(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _describe_type(node: dict[str, Any]) -> str:
    """A type for people: `duration`, `list of text`, a link to a section."""
    for union in ("anyOf", "oneOf"):
        if union in node:
            members = [_describe_type(member) for member in node[union] if member.get("type") != "null"]
            if "duration" in members:
                members = [member for member in members if not member.startswith("number")]
            return " or ".join(dict.fromkeys(members))
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    kind = node.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(_plain(one) for one in kind)
    if kind == "array":
        return f"list of {_describe_type(node['items'])}"
    if kind == "object":
        values = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        if isinstance(values[0], dict):
            return f"map of {_describe_type(values[0])}"
    if kind == "string" and "us|ms|s" in node.get("pattern", ""):
        return "duration"
    if kind == "string" and "[Hh][Tt][Tt][Pp]" in node.get("pattern", ""):
        return "URL"
    return _plain(kind) + _bounds(node)


def _plain(kind: str) -> str:
    return {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "map"}.get(kind, kind)


def _bounds(node: dict[str, Any]) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low is not None else ""


def main(arguments: list[str]) -> int:
    """Exit status of the script."""
    stale = []
    for page in PARTS:
        path = FOLDER / page
        text = path.read_text(encoding="utf-8")
        fresh = render_page(page, text)
        if fresh != text:
            stale.append(page)
            if "--check" not in arguments:
                path.write_text(fresh, encoding="utf-8")
    for page in stale:
        sys.stdout.write(f"docs/{page} {'is not up to date' if '--check' in arguments else 'written'}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
