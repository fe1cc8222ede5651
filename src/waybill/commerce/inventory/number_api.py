"""HTTP of products that are known by whole numbers (seed 000 names no endpoints of its own)."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from waybill.commerce.http.paging import cut_page, decode_cursor, link_next
from waybill.commerce.http.problem import not_found
from waybill.commerce.http.structs import read_struct
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses, takes
from waybill.commerce.inventory.api import ProductChange, ProductQuery, Products
from waybill.commerce.inventory.views import ProductView
from waybill.commerce.numbers import NUMBER_MAX, id_of, number_of

PATH = "/product"
Number = Annotated[int, Path(alias="id", ge=1, le=NUMBER_MAX)]


class NumberedProduct(msgspec.Struct, frozen=True):
    """A product: units that can be ordered, and units that orders took."""

    id: int
    name: str
    stock: int
    reserved: int


class NumberedPage(msgspec.Struct, frozen=True, rename="camel"):
    """Products by ascending id; `next_cursor` is null on the last page."""

    items: tuple[NumberedProduct, ...]
    next_cursor: str | None = None


def numbered_surface(products: Products) -> Surface:
    """The routes of products."""
    return Surface(
        routes=[*_reading(products).routes, *_writing(products).routes],
        structs=[NumberedProduct, NumberedPage, ProductChange],
    )


def _reading(products: Products) -> APIRouter:
    router = APIRouter(tags=["products"])

    @router.get(
        PATH,
        operation_id="listProducts",
        summary="Products by id, a page at a time",
        responses={
            **answers(200, NumberedPage, "A page; `nextCursor` and `Link` lead to the next one"),
            **refuses(_400="A parameter is not valid"),
        },
    )
    async def list_products(request: Request, query: Annotated[ProductQuery, Query()]) -> Response:
        found = await products.products(after=decode_cursor(query.cursor), limit=query.limit + 1)
        items, cursor = cut_page(found, query.limit)
        link = link_next(PATH, dict(request.query_params), cursor)
        page = NumberedPage(tuple(_numbered(each) for each in items), cursor)
        return json_answer(page, headers=link)

    @router.get(
        PATH + "/{id}",
        operation_id="getProduct",
        summary="One product with its stock",
        responses={
            **answers(200, NumberedProduct, "The product"),
            **refuses(_400="The id is no number", _404="There is no such product"),
        },
    )
    async def get_product(number: Number) -> Response:
        product = await products.product(id_of(number))
        if product is None:
            raise not_found("product")
        return json_answer(_numbered(product))

    return router


def _writing(products: Products) -> APIRouter:
    router = APIRouter(tags=["products"])

    @router.put(
        PATH + "/{id}",
        operation_id="changeProduct",
        summary="Name a product and bring what can be ordered to a number; a new one is added",
        openapi_extra=takes(ProductChange),
        responses={
            **answers(200, NumberedProduct, "The product as it then stands"),
            **refuses(_400="The id or the body is not valid", _415="Not JSON"),
        },
    )
    async def change_product(request: Request, number: Number) -> Response:
        asked = await read_struct(request, ProductChange)
        changed = await products.create(id_of(number), asked.name, asked.stock)
        if changed is None:
            changed = await products.change(id_of(number), asked.name, asked.stock)
        if changed is None:
            raise not_found("product")
        return json_answer(_numbered(changed))

    return router


def _numbered(product: ProductView) -> NumberedProduct:
    return NumberedProduct(number_of(product.id), product.name, product.stock, product.reserved)
