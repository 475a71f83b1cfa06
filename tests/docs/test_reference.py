"""The generated parts of the documentation are those that the code makes, and links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from plano.config.schema.file import json_schema
from tests.docs.pages import PAGES, ROOT, read_page

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration.md", "operations.md"])
def test_a_page_is_up_to_date(reference: ModuleType, page: str) -> None:
    text = read_page(f"docs/{page}")
    assert reference.render_page(page, text) == text, "run: python docs/reference.py"


def test_a_page_that_is_not_up_to_date_is_found(reference: ModuleType) -> None:
    text = read_page("docs/configuration.md")
    assert reference.render_page("configuration.md", text.replace("| `model` |", "| `modell` |")) == text
    with pytest.raises(ValueError, match="0 places"):
        reference.render_page("configuration.md", "nothing")


def test_what_is_served_is_in_the_schema(reference: ModuleType) -> None:
    schema = json_schema()
    sections = {"PlanoFile": schema, **schema["$defs"]}
    for name, keys in reference.SERVED.items():
        assert keys == reference.EVERYTHING or keys <= sections[name]["properties"].keys(), name


def test_every_key_of_the_schema_has_a_row_and_a_meaning() -> None:
    text = read_page("docs/configuration.md")
    schema = json_schema()
    for section in (schema, *schema["$defs"].values()):
        for key, node in section["properties"].items():
            assert f"| `{key}` |" in text
            assert node["description"]


def anchors(page: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", read_page(page), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in LINK.findall(read_page(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), f"{page} links to {target}{anchor}"
