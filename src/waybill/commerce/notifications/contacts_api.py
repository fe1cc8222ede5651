"""HTTP of customers' addresses (contracts C38). What is refused is told without the address."""

import re
from typing import Annotated, Protocol

import msgspec
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from msgspec import Meta

from waybill.commerce.http.problem import FieldError, invalid, not_found
from waybill.commerce.http.strict_json import pointer
from waybill.commerce.http.structs import read_struct
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses, takes
from waybill.commerce.notifications.views import Contact

CONTACT = "/api/v1/contacts/{userId}"
USER_ID_LENGTH_MAX = 64
EMAIL_LENGTH_MAX = 254
# HTML's definition of a valid address: no quoted local parts, nothing that could end a header.
EMAIL = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+$"
_EMAIL = re.compile(EMAIL)

UserId = Annotated[
    str, Path(alias="userId", min_length=1, max_length=USER_ID_LENGTH_MAX, pattern="^[!-~]+$")
]


class ContactBook(Protocol):
    """Where addresses are kept. Every method may raise TransientError."""

    async def contact(self, user_id: str) -> Contact | None:
        """The customer's contact; None if they left no address."""

    async def put(self, user_id: str, email: str) -> Contact:
        """Keep this address in place of any other; may be repeated."""

    async def erase(self, user_id: str) -> None:
        """Forget the address; may be repeated."""


class ContactChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT."""

    email: Annotated[str, Meta(max_length=EMAIL_LENGTH_MAX, extra_json_schema={"pattern": EMAIL})]


def contacts_surface(contacts: ContactBook) -> Surface:
    """The routes of contacts."""
    router = APIRouter(tags=["contacts"])

    @router.put(
        CONTACT,
        operation_id="putContact",
        summary="Say where mail to a customer goes; may be repeated",
        openapi_extra=takes(ContactChange),
        responses={
            **answers(200, Contact, "The contact as it then stands"),
            **refuses(_400="The id or the body is not valid", _415="Not JSON"),
        },
    )
    async def put_contact(request: Request, user_id: UserId) -> Response:
        asked = await read_struct(request, ContactChange)
        if not _EMAIL.fullmatch(asked.email):
            raise invalid([FieldError("must be an e-mail address", pointer=pointer("email"))])
        return json_answer(await contacts.put(user_id, asked.email))

    @router.get(
        CONTACT,
        operation_id="getContact",
        summary="Where mail to a customer goes",
        responses={
            **answers(200, Contact, "The contact"),
            **refuses(_400="The id is not valid", _404="The customer left no address"),
        },
    )
    async def get_contact(user_id: UserId) -> Response:
        found = await contacts.contact(user_id)
        if found is None:
            raise not_found("contact")
        return json_answer(found)

    @router.delete(
        CONTACT,
        operation_id="eraseContact",
        summary="Forget a customer's address; may be repeated",
        status_code=204,
        responses={204: {"description": "It is forgotten"}, **refuses(_400="The id is not valid")},
    )
    async def erase_contact(user_id: UserId) -> Response:
        await contacts.erase(user_id)
        return Response(status_code=204)

    return Surface(routes=router.routes, structs=[Contact, ContactChange])
