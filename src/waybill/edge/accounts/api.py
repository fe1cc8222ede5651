"""HTTP of the accounts service: seed 002's register and login, and what tokens need besides."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Protocol
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from msgspec import Meta

from waybill.commerce.http.fields import Instant
from waybill.commerce.http.problem import FieldError, Problem, invalid
from waybill.commerce.http.structs import read_struct
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses, takes
from waybill.commerce.http.trace import traceparent_of
from waybill.edge.accounts.accounts import Granted, TooManyAttemptsError
from waybill.edge.accounts.domain import (
    EMAIL_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    Account,
    normal_email,
)
from waybill.edge.address import Network, client_address
from waybill.edge.tokens.bearer import Verifier, require_caller, unauthorized

if TYPE_CHECKING:
    from starlette.types import Scope

AUTH = "/api/v1/auth"
JWKS = "/.well-known/jwks.json"
CONFIGURATION = "/.well-known/openid-configuration"
KEYS_SECONDS_MAX = 300
"""How long a verifier may keep the keys: half of what a key is published ahead."""

Email = Annotated[str, Meta(min_length=3, max_length=EMAIL_CHARACTERS_MAX)]
Password = Annotated[
    str, Meta(min_length=PASSWORD_CHARACTERS_MIN, max_length=PASSWORD_CHARACTERS_MAX)
]
Secret = Annotated[str, Meta(min_length=1, max_length=256)]


class AccountBook(Protocol):
    """What stands behind the routes. Every method may raise TransientError."""

    async def register(
        self, email: str, password: str, *, address: str, traceparent: str | None = None
    ) -> Account | None:
        """A new account; None if the address has one. Raises TooManyAttemptsError."""

    async def log_in(self, email: str, password: str, *, address: str) -> Granted | None:
        """Tokens; None if anything is wrong. Raises TooManyAttemptsError, OverloadedError."""

    async def refresh(self, token: str) -> Granted | None:
        """New tokens for a refresh token, once; None if it is not good."""

    async def log_out(self, token: str) -> None:
        """End the session of a refresh token. May be repeated."""

    async def account(self, subject: str) -> Account | None:
        """Whom a verified token names."""

    async def keys(self) -> bytes:
        """The public keys, as a key set."""


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of register and login."""

    email: Email
    password: Password


class RefreshToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of refresh and logout."""

    refresh_token: Secret


class AccountView(msgspec.Struct, frozen=True, rename="camel"):
    """What somebody sees of their own account."""

    id: UUID
    email: str
    roles: tuple[str, ...]
    created_at: Instant


class IssuerView(msgspec.Struct, frozen=True):
    """What OIDC discovery needs for verifying our tokens: no more is on offer here."""

    issuer: str
    jwks_uri: str
    id_token_signing_alg_values_supported: tuple[str, ...] = ("ES256",)
    response_types_supported: tuple[str, ...] = ("token",)
    subject_types_supported: tuple[str, ...] = ("public",)


def surface(
    *,
    book: AccountBook,
    verifier: Verifier,
    issuer: str,
    proxies: tuple[Network, ...] = (),
) -> Surface:
    """All routes of the accounts service. `issuer` is its own address, as tokens say it."""

    def address(scope: "Scope") -> str:
        return client_address(scope, proxies)

    return Surface(
        routes=[
            *_registering(book, address).routes,
            *_sessions(book, address).routes,
            *_oneself(book, verifier).routes,
            *_discovery(book, issuer).routes,
        ],
        structs=[AccountView, Credentials, Granted, IssuerView, RefreshToken],
    )


_LATER = "Too many attempts: try again after `Retry-After`"


def _registering(book: AccountBook, address: Callable[["Scope"], str]) -> APIRouter:
    router = APIRouter(tags=["accounts"])

    @router.post(
        AUTH + "/register",
        operation_id="register",
        summary="A new customer's account",
        status_code=201,
        openapi_extra=takes(Credentials),
        responses={
            **answers(201, AccountView, "The account; log in to get tokens"),
            **refuses(
                _400="The body is not valid",
                _409="The address has an account",
                _413="The body is too large",
                _415="Not JSON",
                _429=_LATER,
            ),
        },
    )
    async def register(request: Request) -> Response:
        asked = await read_struct(request, Credentials)
        with _limited():
            account = await book.register(
                _email(asked.email),
                asked.password,
                address=address(request.scope),
                traceparent=traceparent_of(request.scope),
            )
        if account is None:
            raise Problem(409, "email_taken", "This address has an account: log in")
        return json_answer(_view(account), 201)

    return router


def _sessions(book: AccountBook, address: Callable[["Scope"], str]) -> APIRouter:
    router = APIRouter(tags=["sessions"])

    @router.post(
        AUTH + "/login",
        operation_id="logIn",
        summary="Tokens for an address and its password",
        openapi_extra=takes(Credentials),
        responses={
            **answers(200, Granted, "An access token, and a refresh token for the next one"),
            **refuses(
                _400="The body is not valid",
                _401="The address or the password is wrong",
                _413="The body is too large",
                _415="Not JSON",
                _429=_LATER,
            ),
        },
    )
    async def log_in(request: Request) -> Response:
        asked = await read_struct(request, Credentials)
        with _limited():
            granted = await book.log_in(
                _email(asked.email), asked.password, address=address(request.scope)
            )
        if granted is None:
            raise Problem(401, "invalid_credentials", "The address or the password is wrong")
        return json_answer(granted)

    async def refresh(request: Request) -> Response:
        asked = await read_struct(request, RefreshToken)
        granted = await book.refresh(asked.refresh_token)
        if granted is None:
            raise Problem(401, "invalid_refresh_token", "This token is not good: log in again")
        return json_answer(granted)

    for path, operation_id in (("/refresh", "refresh"), ("/refresh-token", "refreshToken")):
        router.add_api_route(
            AUTH + path,
            refresh,
            methods=["POST"],
            operation_id=operation_id,
            summary="New tokens for a refresh token, which is good for one exchange",
            openapi_extra=takes(RefreshToken),
            responses={
                **answers(200, Granted, "The next tokens; the old refresh token is used up"),
                **refuses(
                    _400="The body is not valid",
                    _401="Unknown, expired, ended, or used before: then its session ends",
                    _413="The body is too large",
                    _415="Not JSON",
                ),
            },
        )

    @router.post(
        AUTH + "/logout",
        operation_id="logOut",
        summary="End the session of a refresh token; may be repeated",
        description="Access tokens of it stay good until they expire: 15 minutes at most.",
        status_code=204,
        openapi_extra=takes(RefreshToken),
        responses={
            204: {"description": "It is ended, whether there was one or not"},
            **refuses(_400="The body is not valid", _413="The body is too large", _415="Not JSON"),
        },
    )
    async def log_out(request: Request) -> Response:
        asked = await read_struct(request, RefreshToken)
        await book.log_out(asked.refresh_token)
        return Response(status_code=204)

    return router


def _oneself(book: AccountBook, verifier: Verifier) -> APIRouter:
    router = APIRouter(tags=["accounts"])

    async def me(request: Request) -> Response:
        caller = await require_caller(request.scope["headers"], verifier)
        account = await book.account(caller.subject)
        if account is None:
            raise unauthorized(given=True)
        return json_answer(_view(account))

    for path, operation_id in (("/me", "getOwnAccount"), ("/validate-token", "validateToken")):
        router.add_api_route(
            AUTH + path,
            me,
            operation_id=operation_id,
            summary="Whom the access token names",
            responses={
                **answers(200, AccountView, "The account"),
                **refuses(_401="No token, or none that is good"),
            },
        )
    return router


def _discovery(book: AccountBook, issuer: str) -> APIRouter:
    router = APIRouter(tags=["keys"])
    keep = {"Cache-Control": f"public, max-age={KEYS_SECONDS_MAX}"}

    @router.get(
        JWKS,
        operation_id="getKeys",
        summary="The public keys of our access tokens (RFC 7517)",
        responses={
            200: {
                "description": "A key set",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    )
    async def get_keys() -> Response:
        return Response(await book.keys(), headers=keep, media_type="application/json")

    @router.get(
        CONFIGURATION,
        operation_id="getIssuer",
        summary="Where the keys are (OIDC discovery)",
        responses=answers(200, IssuerView, "The issuer"),
    )
    async def get_issuer() -> Response:
        return json_answer(IssuerView(issuer, issuer.rstrip("/") + JWKS), headers=keep)

    return router


def _email(text: str) -> str:
    email = normal_email(text)
    if email is None:
        raise invalid([FieldError("must be an address, as in name@example.org", pointer="#/email")])
    return email


@contextmanager
def _limited() -> Iterator[None]:
    """What is tried too often is a 429."""
    try:
        yield
    except TooManyAttemptsError as error:
        seconds = max(1, math.ceil(error.retry_after_seconds))
        raise Problem(
            429,
            "too_many_attempts",
            "Too many attempts: try again later",
            headers={"Retry-After": str(seconds)},
        ) from None


def _view(account: Account) -> AccountView:
    return AccountView(account.id, account.email, account.roles, account.created_at)
