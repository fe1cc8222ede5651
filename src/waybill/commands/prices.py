"""`waybill prices`: the price list that orders are held to with WAYBILL_PRICES=catalogue."""

from __future__ import annotations

from contextlib import asynccontextmanager
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.options import AsJson, Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say, show
from waybill.commands.place import run, settings_of
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from waybill.messaging.core.ports import Database
    from waybill.platform.settings import Settings

app = typer.Typer(help="The prices that orders are held to.", no_args_is_help=True)

Product = Annotated[str, typer.Argument(help="Its id, or its SKU where the document has SKUs.")]
Currency = Annotated[str, typer.Option("--currency", metavar="CODE", help="Three capitals.")]


@app.command("list")
def list_(
    data: Data = None,
    port_base: PortBase = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="So many by name.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the prices, by product.

    Example: waybill prices list
    """
    run(_list(settings_of(data, port_base), limit, as_json=as_json))


@app.command("set")
def set_(
    product: Product,
    price: Annotated[str, typer.Argument(help="Of one unit.")],
    data: Data = None,
    port_base: PortBase = None,
    *,
    currency: Currency = "EUR",
) -> None:
    """Set a product's price, for orders from now on.

    Example: waybill prices set 11111111-1111-1111-1111-111111111111 29.99
    """
    run(_set(settings_of(data, port_base), product, price, currency))


@app.command()
def remove(
    product: Product, data: Data = None, port_base: PortBase = None, *, currency: Currency = "EUR"
) -> None:
    """Take a product off the list: nobody can order it in this currency.

    Example: waybill prices remove 11111111-1111-1111-1111-111111111111
    """
    run(_remove(settings_of(data, port_base), product, currency))


async def _list(settings: Settings, limit: int, *, as_json: bool) -> None:
    from waybill.commerce.orders import prices  # noqa: PLC0415 - fast help

    async with _orders(settings) as database:
        rows = await prices.listed(database, limit)
    columns = ("name", "currency", "unit_price", "changed_at")
    show(rows, as_json=as_json, columns=columns, none="no prices: waybill prices set")


async def _set(settings: Settings, product: str, price: str, currency: str) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415 - fast help

    from waybill.commerce.orders import prices  # noqa: PLC0415 - as above

    found = prices.Price(_product(product), _currency(currency), product, _amount(price, currency))
    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    async with _orders(settings) as database, database.transaction() as transaction:
        await prices.put(transaction, found, now)
    say(f"{product}: {found.unit_price} {currency}")


async def _remove(settings: Settings, product: str, currency: str) -> None:
    from waybill.commerce.orders import prices  # noqa: PLC0415 - fast help

    known = _product(product)
    async with _orders(settings) as database, database.transaction() as transaction:
        removed = await prices.remove(transaction, known, _currency(currency))
    say(f"{product}: {'has no price any more' if removed else 'had no price'} in {currency}")


def _product(name: str) -> UUID:
    from waybill.commerce.sku import product_of  # noqa: PLC0415 - fast help

    product_id = product_of(name)
    if product_id is None:
        raise ConfigurationError(f"{name!r} is no product: give its id or its SKU")
    return product_id


def _currency(text: str) -> str:
    if len(text) != 3 or not text.isascii() or not text.isalpha() or not text.isupper():  # noqa: PLR2004 - ISO 4217
        raise ConfigurationError(f"{text!r} is no currency: give three capital letters, as in EUR")
    return text


def _amount(text: str, currency: str) -> Decimal:
    from waybill.commerce.money import (  # noqa: PLC0415 - fast help
        AMOUNT_MAX,
        AMOUNT_MIN,
        finer_than_minor_unit,
        normalised,
    )

    try:
        amount = Decimal(text)
        fits = AMOUNT_MIN <= amount <= AMOUNT_MAX and not finer_than_minor_unit(amount, currency)
    except InvalidOperation:
        fits = False
    if not fits:
        raise ConfigurationError(
            f"{text!r} is no price in {currency}: give {AMOUNT_MIN} to {AMOUNT_MAX}, "
            "no finer than its minor unit"
        )
    return normalised(amount, currency)


@asynccontextmanager
async def _orders(settings: Settings) -> AsyncIterator[Database]:
    """The orders' database, as its owner: the service's own role only reads the list."""
    from waybill.messaging.adapters.postgres.connection import (  # noqa: PLC0415 - fast help
        PostgresDatabase,
        PostgresSettings,
    )
    from waybill.messaging.core.database_url import is_mysql  # noqa: PLC0415 - as above
    from waybill.platform.databases import reached, urls_of  # noqa: PLC0415 - as above

    limits = PostgresSettings(pool_max=2, application_name="waybill operator")
    async with reached(settings) as server:
        url = urls_of(server, "order").owner
        if is_mysql(url):
            raise ConfigurationError("the price list needs PostgreSQL")
        database = await PostgresDatabase.connect(url, limits)
        try:
            yield database
        finally:
            await database.close()
