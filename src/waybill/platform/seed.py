"""`waybill seed`: something to look at on a running platform."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import httpx2

from waybill.blueprints.workload import ORDER_SERVICE
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.chosen import chosen
from waybill.platform.demo.shop import PRICES, DemoFailedError, Shop
from waybill.platform.operator_token import operator_headers
from waybill.platform.settings import reached_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.platform.settings import Settings

STOCK: Final = 1_000


async def sow(settings: Settings, *, orders: int, say: Callable[[str], None]) -> None:
    """Raise the stock of every product and place orders of one or two lines.

    Raises ConfigurationError if no platform of this blueprint answers.
    """
    blueprint, base = chosen(settings), settings.port_base
    path, host = blueprint.orders.contract.path, reached_at(settings.host)
    shop = Shop(blueprint, base, host=host, headers=operator_headers(settings))
    try:
        await shop.fill(dict.fromkeys(PRICES, STOCK))
        for number in range(orders):
            products = [1 + (number + each) % len(PRICES) for each in range(1 + number % 2)]
            lines = [(product, 1 + number % 3) for product in products]
            shop.order_of(await shop.post(secrets.token_hex(16), *lines))
    except httpx2.TransportError as error:
        raise ConfigurationError(
            f"no platform of the blueprint {blueprint.name!r} answers on ports {base + 1} and "
            "following: start one with `waybill up --detach`"
        ) from error
    except DemoFailedError as error:
        raise ConfigurationError(
            f"{error}: seed takes it for a platform of the blueprint {blueprint.name!r}; "
            "name another with --blueprint"
        ) from error
    finally:
        await shop.close()
    say(f"{len(PRICES)} products with {STOCK} pieces each, {orders} orders placed:")
    say(f"http://{host}:{base + ORDER_SERVICE}{path}")
