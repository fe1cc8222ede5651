"""HTTP of the inventory service: the catalogue and its stock."""

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, Field

from waybill.commerce.http.paging import (
    CURSOR_PATTERN,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    cut_page,
    decode_cursor,
    link_next,
)
from waybill.commerce.http.problem import Problem, not_found
from waybill.commerce.http.structs import read_struct
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses, takes
from waybill.commerce.inventory.views import ProductPage, ProductView

PRODUCTS = "/api/products"
STOCK_MAX = 1_000_000_000

ProductId = Annotated[UUID, Path(alias="id")]
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Stock = Annotated[int, Meta(ge=0, le=STOCK_MAX)]


class Products(Protocol):
    """The catalogue with its stock. Every method may raise TransientError."""

    async def product(self, product_id: UUID) -> ProductView | None:
        """One product; None if there is none."""

    async def products(self, *, after: UUID | None, limit: int) -> Sequence[ProductView]:
        """At most `limit` products by ascending id, of ids above `after`."""

    async def create(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Add a product, its stock as a ledger entry; None if the id is taken."""

    async def change(self, product_id: UUID, name: str, stock: int) -> ProductView | None:
        """Rename, and bring the orderable stock to `stock` by a ledger entry; None: unknown."""


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST; without an id one is made."""

    name: Name
    stock: Stock
    id: UUID | None = None


class ProductChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of PUT: the whole product."""

    name: Name
    stock: Stock


class ProductQuery(BaseModel):
    """Parameters of the list; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    cursor: Annotated[str | None, Field(pattern=CURSOR_PATTERN)] = None


def products_surface(products: Products, new_id: Callable[[], UUID]) -> Surface:
    """All routes of the inventory service; `new_id` names products that come without an id."""
    return Surface(
        routes=[*_reading(products).routes, *_writing(products, new_id).routes],
        structs=[ProductView, ProductPage, NewProduct, ProductChange],
    )


def _reading(products: Products) -> APIRouter:
    router = APIRouter(tags=["products"])

    @router.get(
        PRODUCTS,
        operation_id="listProducts",
        summary="Products by id, a page at a time",
        responses={
            **answers(200, ProductPage, "A page; `nextCursor` and `Link` lead to the next one"),
            **refuses(_400="A parameter is not valid"),
        },
    )
    async def list_products(request: Request, query: Annotated[ProductQuery, Query()]) -> Response:
        found = await products.products(after=decode_cursor(query.cursor), limit=query.limit + 1)
        items, cursor = cut_page(found, query.limit)
        link = link_next(PRODUCTS, dict(request.query_params), cursor)
        return json_answer(ProductPage(items, cursor), headers=link)

    @router.get(
        PRODUCTS + "/{id}",
        operation_id="getProduct",
        summary="One product with its stock",
        responses={
            **answers(200, ProductView, "The product"),
            **refuses(_400="The id is no UUID", _404="There is no such product"),
        },
    )
    async def get_product(product_id: ProductId) -> Response:
        product = await products.product(product_id)
        if product is None:
            raise not_found("product")
        return json_answer(product)

    return router


def _writing(products: Products, new_id: Callable[[], UUID]) -> APIRouter:
    router = APIRouter(tags=["products"])

    @router.post(
        PRODUCTS,
        operation_id="createProduct",
        summary="Add a product",
        status_code=201,
        openapi_extra=takes(NewProduct),
        responses={
            **answers(201, ProductView, "The product, with its address in Location"),
            **refuses(_400="The body is not valid", _409="The id is taken", _415="Not JSON"),
        },
    )
    async def create_product(request: Request) -> Response:
        asked = await read_struct(request, NewProduct)
        product = await products.create(asked.id or new_id(), asked.name, asked.stock)
        if product is None:
            raise Problem(409, "product_exists", "There is a product with this id")
        return json_answer(product, 201, {"Location": f"{PRODUCTS}/{product.id}"})

    @router.put(
        PRODUCTS + "/{id}",
        operation_id="changeProduct",
        summary="Rename a product, and bring its orderable stock to a number",
        openapi_extra=takes(ProductChange),
        responses={
            **answers(200, ProductView, "The product as it then stands"),
            **refuses(
                _400="The id or the body is not valid",
                _404="There is no such product",
                _415="Not JSON",
            ),
        },
    )
    async def change_product(request: Request, product_id: ProductId) -> Response:
        asked = await read_struct(request, ProductChange)
        product = await products.change(product_id, asked.name, asked.stock)
        if product is None:
            raise not_found("product")
        return json_answer(product)

    return router
