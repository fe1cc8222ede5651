"""Eureka's documents: one tree in two spellings, JSON and the XML that clients get by default.

A JSON member `@name` is an attribute in XML and `$` an element's text: so XStream, by which the
first Eureka wrote both, maps them. What a client puts in comes out as it was, in either spelling;
what XML could not hold is refused, since one such instance would hide all others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, Any]

DEPTH_MAX: Final = 6
"""Of a document: Eureka's own have four levels."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class MalformedDocumentError(Exception):
    """It is not what it claims to be; the text says why and quotes nothing of it."""


def from_json(body: bytes) -> Document:
    """The tree of a JSON object. Raises MalformedDocumentError."""
    try:
        found = msgspec.json.decode(body, type=Document)
    except msgspec.DecodeError as error:
        raise MalformedDocumentError("the body is not a JSON object") from error
    except RecursionError as error:
        raise MalformedDocumentError("the body is nested too deeply") from error
    _check(found, DEPTH_MAX)
    return found


def from_xml(body: bytes) -> Document:
    """The same tree of an XML document, with its root's name. Raises MalformedDocumentError."""
    if _DECLARATION.search(body):
        raise MalformedDocumentError("the body declares a document type")
    try:
        root = ET.fromstring(body)  # noqa: S314 - bounded, and nothing can be declared in it
    except ET.ParseError as error:
        raise MalformedDocumentError("the body is not XML") from error
    found = {root.tag: _value(root, DEPTH_MAX)}
    _check(found, DEPTH_MAX)
    return found


def to_json(document: Mapping[str, Any]) -> bytes:
    """As JSON."""
    return msgspec.json.encode(document)


def to_xml(document: Mapping[str, Any]) -> bytes:
    """As XML; the document's one member is the root."""
    [(name, value)] = document.items()
    root = ET.Element(name)
    _fill(root, value)
    made: bytes = ET.tostring(root, encoding="utf-8")
    return made


def _check(value: object, depth: int) -> None:
    if depth < 0:
        raise MalformedDocumentError("the body is nested too deeply")
    if isinstance(value, str) and _NOT_IN_XML.search(value):
        raise MalformedDocumentError("the body has characters that XML cannot hold")
    if isinstance(value, dict):
        for name, member in value.items():
            if name != "$" and not _NAME.fullmatch(name.removeprefix("@")):
                raise MalformedDocumentError("the body has a member that is no XML name")
            _check(member, depth - 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth - 1)


def _value(element: ET.Element, depth: int) -> str | Document:
    if depth < 0:
        raise MalformedDocumentError("the body is nested too deeply")
    if not len(element) and not element.attrib:
        return element.text or ""
    found: Document = {f"@{name}": text for name, text in element.attrib.items()}
    if not len(element) and element.text:
        found["$"] = element.text
    for child in element:
        found[child.tag] = _value(child, depth - 1)
    return found


def _fill(element: ET.Element, value: object) -> None:
    if not isinstance(value, dict):
        element.text = _text(value)
        return
    for name, member in value.items():
        if name == "$":
            element.text = _text(member)
        elif name.startswith("@"):
            element.set(name[1:], _text(member))
        else:
            for each in member if isinstance(member, list) else [member]:
                _fill(ET.SubElement(element, name), each)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
