"""Which acts the demo plays of a blueprint, and that its sums are worth something."""

from __future__ import annotations

import socket
from contextlib import closing
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.platform.test_cli import expect_refusal, waybill

from waybill.blueprints.catalogue import blueprint_named
from waybill.platform.demo import acts, books
from waybill.platform.demo.acts import LIVE, SPOKEN, Stage, acts_of
from waybill.platform.demo.books import Opening, check_books
from waybill.platform.demo.shop import DemoFailedError, Journey, Product

if TYPE_CHECKING:
    from pathlib import Path

    from waybill.platform.demo.shop import Shop

BOTH = [acts.usual_orders, acts.more_than_there_is]
PLAYED = {
    "choreography": [*BOTH, acts.cancelled_on_its_way, acts.same_key, acts.cancelled_too_late],
    "orchestration": [*BOTH, acts.cancelled_on_its_way, acts.same_key, acts.cancelled_too_late],
    "reservation": [*BOTH, acts.cancelled_after_all, acts.same_key],
    "reservation-paid": [
        *(*BOTH, acts.cancelled_on_its_way, acts.cancelled_after_all, acts.same_key),
    ],
    "notify": [*BOTH, acts.the_other_side_is_away, acts.same_key],
    "checkout": [*BOTH, acts.the_other_side_is_away, acts.same_key, acts.cancelled_too_late],
}


@pytest.mark.parametrize("name", PLAYED)
def test_a_blueprint_plays_what_it_has(name: str) -> None:
    """Cancels where it has them, payments where money is taken, outages where it calls."""
    blueprint = blueprint_named(name)
    assert [act.play for act in acts_of(blueprint, (*LIVE, *SPOKEN))] == PLAYED[name]


def stage_of(name: str, left: int, reserved: int, captured: str) -> tuple[Stage, Opening]:
    """After one confirmed order of two mice at 29.99, of ten; what stock and provider say."""
    journey = Journey("2 x Mouse", 1, 2, 201, id="order-1", path=["PENDING", "CONFIRMED"])

    async def products() -> dict[int, Product]:
        return {1: Product("Mouse", left, reserved)}

    async def payments(_: Journey) -> list[dict[str, Any]]:
        return [{"status": "SUCCEEDED"}]

    async def totals() -> tuple[Decimal, Decimal]:
        return Decimal(captured), Decimal(0)

    shop = SimpleNamespace(
        journeys=[journey],
        products=products,
        payments=payments,
        is_confirmed=lambda _: True,
        has_failed=lambda _: False,
    )
    provider = cast("Any", SimpleNamespace(totals=totals))
    stage = Stage(
        blueprint=blueprint_named(name),
        shop=cast("Shop", shop),
        say=lambda _: None,
        provider=provider,
    )
    return stage, Opening(products={1: Product("Mouse", 10, 0)})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("choreography", 8, 0, "59.98"), ""),
        (("reservation", 8, 2, "0"), ""),
        (("choreography", 7, 0, "59.98"), "10 before, 2 in confirmed orders, 7 left"),
        (("choreography", 8, 2, "59.98"), "8 left and 2 reserved"),
        (("reservation", 8, 0, "0"), "8 left and 0 reserved"),
        (("choreography", 8, 0, "59.97"), "captured 59.97, refunded 0"),
    ],
)
async def test_books_that_do_not_balance_are_told(
    said: tuple[str, int, int, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit or a cent too many fails the demo; where nothing is sold, stock stays reserved."""
    monkeypatch.setattr(books, "OUTCOME_SECONDS_MAX", 0.0)
    stage, opening = stage_of(*said)
    if not words:
        await check_books(stage, opening)
        return
    with pytest.raises(DemoFailedError, match=words):
        await check_books(stage, opening)


def test_a_demo_that_cannot_be_played_says_why(data_directory: Path) -> None:
    """An unknown blueprint, data of another, a provider of the user's; nothing stays behind."""
    home = data_directory.parent / "home"
    home.mkdir()
    place = ("--data", str(data_directory))
    shown = waybill("demo", "--blueprint", "nothing", TMPDIR=str(home))
    expect_refusal(shown, "there is no blueprint 'nothing': choose one of choreography")
    assert list(home.iterdir()) == []
    url = {"PAYMENT_PROVIDER_URL": "http://127.0.0.1:1"}
    expect_refusal(waybill("demo", *place, **url), "the demo pays by the simulator only")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        shown = waybill("demo", *place, "--port-base", str(port - 1))
        expect_refusal(shown, f"cannot listen on 127.0.0.1:{port}")
    (data_directory / "blueprint").write_text("reservation\n")
    shown = waybill("demo", *place, "--blueprint", "notify")
    expect_refusal(shown, "holds data of the blueprint 'reservation', not of 'notify'")


def test_seed_says_whom_it_did_not_find(data_directory: Path) -> None:
    """Where nothing listens, it names the blueprint that it looked for."""
    place = ("--data", str(data_directory), "--port-base", "1")
    shown = waybill("seed", *place, "--blueprint", "checkout")
    expect_refusal(shown, "no platform of the blueprint 'checkout' answers on ports 2")
