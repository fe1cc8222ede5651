"""Bodies of our own endpoints: structs, exact types, no member that they do not have (C35)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from waybill.commerce.http.body import read_body
from waybill.commerce.http.negotiation import require_json_content
from waybill.commerce.http.problem import FieldError, invalid
from waybill.commerce.http.strict_json import decode, pointer

if TYPE_CHECKING:
    from starlette.requests import Request

StructT = TypeVar("StructT", bound=msgspec.Struct)

_PLACE = re.compile(r" - at `(?:key in )?\$(.*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]")
_MEMBER = re.compile(r"(?:unknown|required) field `([^`]+)`")


async def read_struct(request: Request, struct: type[StructT]) -> StructT:
    """The request's body as this struct. Raises Problem 400, 413, 415; ClientGoneError."""
    require_json_content(request.headers.get("content-type", "").encode("latin-1"))
    length = request.headers.get("content-length")
    body = await read_body(request.receive, length.encode() if length else None)
    return parse_struct(body, struct)


def parse_struct(body: bytes, struct: type[StructT]) -> StructT:
    """Strict JSON to a struct. Raises Problem 400 with the first place that does not fit."""
    try:
        return msgspec.convert(decode(body), struct)
    except msgspec.ValidationError as error:
        raise invalid([_field_error(str(error))]) from None


def _field_error(text: str) -> FieldError:
    place = _PLACE.search(text)
    steps: list[str | int] = [
        name or int(index) for name, index in _STEP.findall(place[1] if place else "")
    ]
    # msgspec names the object that lacks a member or has one too many, not the member.
    if member := _MEMBER.search(text):
        steps.append(member[1])
        detail = "is required" if "missing required" in text else "is not a member of this request"
    else:
        detail = (text[: place.start()] if place else text).replace("`", "")
    return FieldError(detail, pointer=pointer(*steps))
