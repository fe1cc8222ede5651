"""A platform whose disk fills up stops writing before it cannot (protocol I5)."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tests.acceptance.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.processes import PlatformProcess


def test_i5_above_the_disks_share_writes_get_503_and_reads_go_on(
    make_platform: Callable[..., PlatformProcess],
) -> None:
    """Protocol I5: the limit is a setting; what is refused says when to come again."""
    platform = make_platform(WAYBILL_DISK_USED_SHARE_MAX="0").start()
    wait_for(lambda: platform.place("first-look").status_code == 503, 10, "the brake on")
    refused = platform.place("k-1")
    assert refused.json()["code"] == "overloaded"
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    made = platform.client.post(f"{platform.url(3)}/api/products", json={"name": "x", "stock": 1})
    assert made.status_code == 503, "every service writes to the same disk"
    assert platform.client.get(f"{platform.url(1)}/api/orders").status_code == 200
    assert "WAYBILL_DISK_USED_SHARE_MAX=0" in platform.tail()
    assert platform.stop() == 0


def test_i5_what_no_service_reads_closes_the_intake_until_one_does(
    make_platform: Callable[..., PlatformProcess],
) -> None:
    """Protocol I5, D4: with every consumer away new orders are refused; the first reader opens."""
    platform = make_platform(WAYBILL_INTAKE_UNREAD_ROWS_MAX="2")
    with closing(platform.beside("order")) as order, closing(platform.beside("inventory")) as other:
        order.start()
        placed = [order.place(f"k-{number}") for number in range(3)]
        assert {answer.status_code for answer in placed} == {201}
        wait_for(lambda: order.place("k-0").status_code == 503, 10, "the brake on")
        cancel = f"{order.url(1)}/api/orders/{placed[0].json()['id']}/cancel"
        assert order.client.post(cancel).status_code == 200, "only new orders are refused"
        other.start()
        wait_for(lambda: order.place("k-3").status_code == 201, 20, "the brake off")
        assert other.stop() == 0
        assert order.stop() == 0
