"""Many customers at once: for the last units, for and against one order, and more than fit in."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from httpx2 import Response
from tests.acceptance.books import assert_balanced
from tests.acceptance.database import value
from tests.acceptance.traffic import at_once

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx2
    from tests.acceptance.conftest import NewPlatform
    from tests.acceptance.processes import PlatformProcess

UNITS = 10
CUSTOMERS = 30
ORDERS_MAX = 600


def test_orders_that_race_for_the_last_units_never_oversell(
    shared_platform: PlatformProcess,
) -> None:
    """P7, R295: as many orders as there are units end CONFIRMED, the others CANCELLED."""
    made = shared_platform.client.post(
        f"{shared_platform.url(3)}/api/products", json={"name": "Rarity", "stock": UNITS}
    ).json()
    answers = at_once(
        CUSTOMERS,
        lambda client, _: shared_platform.place(str(new_id()), product=made["id"], client=client),
    )
    assert {answer.status_code for answer in answers} == {201}
    ends = Counter(shared_platform.ended(answer.json()["id"])["status"] for answer in answers)
    assert ends == {"CONFIRMED": UNITS, "CANCELLED": CUSTOMERS - UNITS}
    assert_balanced(shared_platform, may_wait=True)
    assert shared_platform.products()[made["id"]]["stock"] == 0


def test_of_cancel_and_confirm_exactly_one_wins(shared_platform: PlatformProcess) -> None:
    """P8: a cancel that was answered 200 stands, one that was answered 409 came too late."""
    url = f"{shared_platform.url(1)}/api/orders"

    def place_and_cancel(client: httpx2.Client, number: int) -> Response:
        order_id = shared_platform.place(str(new_id()), client=client).json()["id"]
        for _ in range(number % 6):  # some cancels come at once, some later
            client.get(f"{url}/{order_id}")
        return client.post(f"{url}/{order_id}/cancel", headers={"X-Correlation-ID": order_id})

    answers = at_once(CUSTOMERS, place_and_cancel)
    assert {answer.status_code for answer in answers} <= {200, 409}
    for answer in answers:
        order_id = answer.request.headers["X-Correlation-ID"]
        won = "CANCELLED" if answer.status_code == 200 else "CONFIRMED"
        assert shared_platform.ended(order_id)["status"] == won
    assert_balanced(shared_platform, may_wait=True)


def place(
    platform: PlatformProcess, keys: Sequence[str], client: httpx2.Client, number: int
) -> Response:
    """POST the order of one customer."""
    return platform.place(keys[number], client=client)


def test_what_does_not_fit_in_is_told_to_come_back(new_platform: NewPlatform) -> None:
    """P10, I3: 503 with Retry-After beyond the limit; what was accepted is there, and no more."""
    limits = {"WAYBILL_INTAKE_QUEUE_SIZE_MAX": "1", "WAYBILL_HTTP_IN_FLIGHT_MAX": "4"}
    with new_platform(**limits) as platform:
        platform.start()
        answers, keys = list[Response](), list[str]()
        while all(answer.status_code == 201 for answer in answers) and len(keys) < ORDERS_MAX:
            more = [str(new_id()) for _ in range(CUSTOMERS)]
            answers += at_once(CUSTOMERS, partial(place, platform, more))
            keys += more
        accepted = [answer for answer in answers if answer.status_code == 201]
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(accepted) + len(refused) == len(keys)
        assert accepted
        assert refused
        for answer in refused:
            assert answer.json()["code"] == "overloaded"
            assert 1 <= int(answer.headers["Retry-After"]) <= 3
        count = "SELECT count(*) FROM app.orders"
        assert value(platform.data, "order", count) == len(accepted)
        for key in keys:
            assert platform.place(key).status_code in {200, 201}
        assert value(platform.data, "order", count) == len(keys)
