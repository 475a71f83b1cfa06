"""Bodies of forms with files: multipart/form-data (RFC 7578, in the framing of RFC 2046, 5.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from plano.demo.prompts import PromptError

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^;\s]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r'(?:^|[;\s])(name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    name: str
    data: bytes


def parse_form(content_type: str, body: bytes) -> dict[str, str | Upload]:
    """Return the fields of a form by name, the last of each. Raises PromptError (400) where it is none."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise PromptError(400, "The Content-Type of a form must name its boundary.")
    delimiter = b"--" + (match.group(1) or match.group(2)).encode()
    parts = (b"\r\n" + body).split(b"\r\n" + delimiter)[1:]
    if not parts or not parts[-1].startswith(b"--"):
        raise PromptError(400, "The form is not closed by its boundary.")
    fields: dict[str, str | Upload] = {}
    for part in parts[:-1]:
        head, found, data = part.partition(b"\r\n\r\n")
        if not found:
            raise PromptError(400, "A part of the form has no end of its headers.")
        name, filename = _read_disposition(head)
        fields[name] = data.decode(errors="replace") if filename is None else Upload(filename, data)
    return fields


def _read_disposition(head: bytes) -> tuple[str, str | None]:
    for line in head.decode(errors="replace").split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            parameters = {name.lower(): text for name, text in _PARAMETER.findall(value)}
            if "name" in parameters:
                return parameters["name"], parameters.get("filename")
    raise PromptError(400, "A part of the form has no name.")
