"""One Idempotency-Key, two order services over one database, and a payment that takes its time."""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.acceptance.processes import NO_TLS, PlatformProcess, free_port_base, wait_for
from tests.acceptance.shop import DECLINED, PENDED, Surroundings
from tests.acceptance.stages import STAGES
from tests.faults.site import opened

from waybill.messaging.core.identity import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from httpx2 import Response
    from tests.faults.site import Site

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

STAGE = STAGES["checkout"]
WAIT_SECONDS = 8.0
SLOW_SECONDS = 0.5
"""How long the provider takes to answer: far less than a request waits."""
KEYS = 20
LATE_KEYS = 3
PRICE = 29.99
OF_KEY = """
SELECT o.id, o.status FROM app.idempotency_keys AS k JOIN app.orders AS o ON o.id = k.order_id
WHERE k.key = $1
"""
PLACED = "SELECT count(*) FROM app.orders"
TOKEN = secrets.token_hex(16)


@pytest.fixture(scope="module")
def around() -> Iterator[Surroundings]:
    """A provider."""
    with Surroundings(token=TOKEN) as surroundings:
        yield surroundings


@pytest.fixture(scope="module")
def site(session_directory: Path, provisioned_data: Path, around: Surroundings) -> Iterator[Site]:
    """Every service of `checkout` in a process of its own, with the provider outside."""
    directory = Path(tempfile.mkdtemp(prefix="one-key-", dir=session_directory))
    directory.chmod(0o711)
    STAGE.copy(provisioned_data, directory / "data")
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    base = free_port_base()
    environment = {
        **STAGE.environment,
        "WAYBILL_PAYMENT_URL": f"http://127.0.0.1:{base + STAGE.offsets['payment']}",
        "WAYBILL_PAYMENT_WAIT_SECONDS": str(WAIT_SECONDS),
        "PAYMENT_PROVIDER_URL": around.provider.url,
        "PAYMENT_PROVIDER_TOKEN_FILE": str(token),
    }
    with opened(directory / "data", port_base=base, environment=environment, stage=STAGE) as made:
        yield made


@pytest.fixture(scope="module")
def both(site: Site) -> Iterator[tuple[PlatformProcess, PlatformProcess]]:
    """Two processes of the order service."""
    second = site.order.beside("order", port_base=free_port_base())
    with closing(second):
        yield site.order, second.start()


Asked = tuple["Response", "Response"]


def at_once(
    both: tuple[PlatformProcess, PlatformProcess], key: str, price: float | Decimal
) -> Asked:
    """The answers of the two to one request that comes to both at the same moment."""
    together = Barrier(2)

    def one(process: PlatformProcess) -> Response:
        with httpx2.Client(timeout=30, verify=NO_TLS) as client:
            client.get(f"{process.url(STAGE.offsets['order'])}/readyz")
            together.wait(20)
            return asked(process, key, price, client)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(one, both)
    return first, second


def asked(
    process: PlatformProcess, key: str, price: float | Decimal, client: httpx2.Client | None = None
) -> Response:
    """POST one order."""
    return (client or process.client).post(
        f"{process.url(STAGE.offsets['order'])}{STAGE.blueprint.orders.contract.path}",
        json=STAGE.blueprint.workload.body(0, [(1, 1, float(price))]),
        headers={"Idempotency-Key": key},
    )


def is_replay(answer: Response) -> bool:
    """Whether it says so."""
    return answer.headers.get("Idempotent-Replayed") == "true"


def the_order(site: Site, around: Surroundings, key: str) -> dict[str, Any]:
    """The one order of a key, for which the provider was asked once, in the end."""
    (found,) = site.rows("order", OF_KEY, key)
    order_id = str(found["id"])
    charges = [
        each.path == "/charges"
        for each in list(around.provider.asked)
        if each.method == "POST" and each.headers.get("idempotency-key") == order_id
    ]
    assert charges == [True]
    assert order_id in around.provider.charges
    return found


def told_apart(answers: Asked) -> tuple[Response, Response]:
    """Who placed the order, and whose request was the replay."""
    assert [is_replay(each) for each in answers].count(True) == 1
    placed, replayed = sorted(answers, key=is_replay)
    return placed, replayed


def later_is_as_first(
    both: tuple[PlatformProcess, PlatformProcess], key: str, price: float | Decimal, first: Response
) -> None:
    """Whichever process is asked: status and body of who placed it, and that it is a replay."""
    for process in both:
        again = asked(process, key, price)
        assert is_replay(again)
        assert (again.status_code, again.content) == (first.status_code, first.content)


@pytest.mark.parametrize(("price", "status"), [(PRICE, 201), (DECLINED, 402)])
def test_a_key_at_two_processes_at_once_is_one_order_and_one_charge(
    site: Site,
    around: Surroundings,
    both: tuple[PlatformProcess, PlatformProcess],
    price: float | Decimal,
    status: int,
) -> None:
    """M9: who placed it is told of the payment, the other 202 meanwhile; later both, as the first.

    A replay that comes when the payment is known is told of it. Both processes place some orders.
    """
    around.provider.slow_seconds["POST"] = SLOW_SECONDS
    meanwhile = 0
    placers: Counter[int] = Counter()
    before = site.value("order", PLACED)
    for _ in range(KEYS):
        key = str(new_id())
        answers = at_once(both, key, price)
        placed, replayed = told_apart(answers)
        placers[answers.index(placed)] += 1
        assert placed.status_code == status
        order_id = placed.json()["orderId"]
        if replayed.content != placed.content:
            told = (replayed.status_code, replayed.json()["orderId"], replayed.json()["status"])
            assert told == (202, order_id, "PENDING")
            meanwhile += 1
        else:
            assert replayed.status_code == status
        assert str(the_order(site, around, key)["id"]) == order_id
        later_is_as_first(both, key, price, placed)
    assert meanwhile > KEYS / 2
    assert len(placers) == len(both), placers
    assert site.value("order", PLACED) - before == KEYS


def test_a_payment_that_comes_too_late_for_both_leaves_them_202(
    site: Site, around: Surroundings, both: tuple[PlatformProcess, PlatformProcess]
) -> None:
    """M9: 202 for who placed it is the key's answer for good, though the order is paid."""
    around.provider.slow_seconds.clear()
    keys = [str(new_id()) for _ in range(LATE_KEYS)]
    with ThreadPoolExecutor(LATE_KEYS) as pool:
        each_told = list(pool.map(lambda key: told_apart(at_once(both, key, PENDED)), keys))
    for key, (placed, replayed) in zip(keys, each_told, strict=True):
        assert (placed.status_code, replayed.status_code) == (202, 202)
        assert placed.content == replayed.content
        order_id = placed.json()["orderId"]
        around.provider.decide(order_id, "captured")
        wait_for(
            lambda key=key: site.rows("order", OF_KEY, key)[0]["status"] == "CONFIRMED" or None,  # type: ignore[misc] # a loop's variable
            60,
            "the order is paid",
        )
        assert str(the_order(site, around, key)["id"]) == order_id
        later_is_as_first(both, key, PENDED, placed)


def test_the_audit_is_clean(site: Site) -> None:
    """After all of it."""
    wait_for(site.all_ended, 60, "all orders have ended")
    site.assert_clean(customers=False)
