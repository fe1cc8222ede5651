"""HTTP of an inventory that is known by SKU (seed 001 names no endpoints of its own)."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from msgspec import Meta

from waybill.commerce.http.paging import cut_page, decode_cursor, link_next
from waybill.commerce.http.problem import FieldError, invalid, not_found
from waybill.commerce.http.structs import read_struct
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses, takes
from waybill.commerce.inventory.api import STOCK_MAX, ProductQuery, Products
from waybill.commerce.inventory.views import ProductView
from waybill.commerce.sku import product_of

INVENTORY = "/api/inventory"
Sku = Annotated[str, Path(alias="sku")]


class StockLevel(msgspec.Struct, frozen=True, rename="camel"):
    """What of a SKU can be ordered, and what is held for orders."""

    sku: str
    available_qty: int
    reserved_qty: int


class StockPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page; `next_cursor` is null on the last one."""

    items: tuple[StockLevel, ...]
    next_cursor: str | None = None


class StockCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of PUT: how many can be ordered."""

    available_qty: Annotated[int, Meta(ge=0, le=STOCK_MAX)]


def sku_surface(products: Products, _new_id: Callable[[], UUID]) -> Surface:
    """All routes of the inventory service."""
    return Surface(
        routes=[*_reading(products).routes, *_counting(products).routes],
        structs=[StockLevel, StockPage, StockCount],
    )


def _reading(products: Products) -> APIRouter:
    router = APIRouter(tags=["inventory"])

    @router.get(
        INVENTORY,
        operation_id="listStock",
        summary="Stock by SKU, a page at a time",
        responses={
            **answers(200, StockPage, "A page; `nextCursor` and `Link` lead to the next one"),
            **refuses(_400="A parameter is not valid"),
        },
    )
    async def list_stock(request: Request, query: Annotated[ProductQuery, Query()]) -> Response:
        found = await products.products(after=decode_cursor(query.cursor), limit=query.limit + 1)
        items, cursor = cut_page(found, query.limit)
        link = link_next(INVENTORY, dict(request.query_params), cursor)
        return json_answer(StockPage(tuple(_level(item) for item in items), cursor), headers=link)

    @router.get(
        INVENTORY + "/{sku}",
        operation_id="getStock",
        summary="The stock of one SKU",
        responses={
            **answers(200, StockLevel, "Its level"),
            **refuses(_400="That is no SKU", _404="There is no such SKU"),
        },
    )
    async def get_stock(sku: Sku) -> Response:
        product = await products.product(_product_id(sku))
        if product is None:
            raise not_found("sku")
        return json_answer(_level(product))

    return router


def _counting(products: Products) -> APIRouter:
    router = APIRouter(tags=["inventory"])

    @router.put(
        INVENTORY + "/{sku}",
        operation_id="countStock",
        summary="Bring what can be ordered of a SKU to a number; a new SKU is added",
        openapi_extra=takes(StockCount),
        responses={
            **answers(200, StockLevel, "Its level as it then stands"),
            **refuses(_400="The SKU or the body is not valid", _415="Not JSON"),
        },
    )
    async def count_stock(request: Request, sku: Sku) -> Response:
        product_id = _product_id(sku)
        quantity = (await read_struct(request, StockCount)).available_qty
        changed = await products.create(product_id, sku, quantity)
        if changed is None:
            known = await products.product(product_id)
            name = known.name if known else sku
            changed = await products.change(product_id, name, quantity)
        if changed is None:
            raise not_found("sku")
        return json_answer(_level(changed))

    return router


def _product_id(sku: str) -> UUID:
    product_id = product_of(sku)
    if product_id is None:
        raise invalid([FieldError("must be 1 to 64 printable ASCII characters", parameter="sku")])
    return product_id


def _level(product: ProductView) -> StockLevel:
    sku = product.name if product_of(product.name) == product.id else str(product.id)
    return StockLevel(sku, product.stock, product.reserved)
