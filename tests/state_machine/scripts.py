"""Runs that chance finds too rarely, written down: the same rules, in an order that matters.

Each is a sequence of the machine's rules; what must hold after every one of them and at the end
is the machine's, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tests.state_machine.gates import Fate, Grant

from waybill.commerce.contracts import StockReleaseRequested

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.state_machine.machine import OrdersMachine

    Script = Callable[[OrdersMachine], None]

ONE = [([(UUID(int=0xA), 1)], True)]
"""One order whose charge is good."""
PATIENCE_SECONDS = 40
"""Of virtual time: longer than a lease, and than any backoff of a first try."""


def deliver(machine: OrdersMachine, *batches: str, source: str = "") -> None:
    """These consumers take what there is, one after the other."""
    machine.deliver(batches=[(service, Grant(source=source), None) for service in batches])


def called(machine: OrdersMachine, fate: Fate) -> None:
    """The provider is called, and the call ends so."""
    _outside(machine, fate, is_query=False)


def asked(machine: OrdersMachine, fate: Fate = Fate.ANSWERED) -> None:
    """The provider is asked what became of a call."""
    _outside(machine, fate, is_query=True)


def _outside(machine: OrdersMachine, fate: Fate, *, is_query: bool) -> None:
    calls = machine.world.lives["payment"].calls
    for _ in range(PATIENCE_SECONDS):
        if calls.waiting:
            assert calls.waiting[0].is_query == is_query, "another request than the script's"
            machine.answer(which=0, fate=fate)
            machine.books_add_up()
            return
        machine.wait(seconds=1.0)
    raise AssertionError("the provider is not asked for anything")


def a_charges_answer_is_lost(machine: OrdersMachine) -> None:
    """It was done: found when it is asked about, it is not made again (M6)."""
    deliver(machine, "inventory", "order", "payment")
    called(machine, Fate.ANSWER_LOST)
    asked(machine, Fate.ANSWER_LOST)
    asked(machine)
    deliver(machine, "order")


def a_charge_never_arrives(machine: OrdersMachine) -> None:
    """It was not done: once it is surely over, it is made again, and its answer is lost (M6)."""
    deliver(machine, "inventory", "order", "payment")
    called(machine, Fate.NEVER_ARRIVED)
    asked(machine)
    asked(machine)
    called(machine, Fate.ANSWER_LOST)
    asked(machine)
    deliver(machine, "order")


def a_refunds_answer_is_lost(machine: OrdersMachine) -> None:
    """A cancel meets a charge that is under way; the refund's answer does not come."""
    deliver(machine, "inventory", "order", "payment")
    machine.cancel(which=0)
    called(machine, Fate.ANSWERED)
    deliver(machine, "order", "payment")
    called(machine, Fate.ANSWER_LOST)
    asked(machine)
    deliver(machine, "order", "payment")


def a_process_dies_while_it_charges(machine: OrdersMachine) -> None:
    """Who takes over its lease asks first (M6)."""
    deliver(machine, "inventory", "order", "payment")
    machine.kill(service="payment", alone=False)
    machine.wait(seconds=31.0)
    asked(machine)
    deliver(machine, "order")


def a_payment_overtakes_its_stock(machine: OrdersMachine) -> None:
    """The order hears that it is paid before it hears that it can be delivered."""
    deliver(machine, "inventory", "payment")
    called(machine, Fate.ANSWERED)
    deliver(machine, "order", source="payment-service")
    deliver(machine, "order", source="inventory-service")


def a_release_overtakes_its_order(machine: OrdersMachine) -> None:
    """What was poison is redriven after the release: it finds a tombstone (M4).

    Our own order service asks for a release once it knows of a reservation; others ask sooner.
    """
    machine.poison(service="inventory")
    deliver(machine, "inventory")
    machine.cancel(which=0)
    machine.world.run(_ask_for_release(machine))
    deliver(machine, "inventory", "order")
    machine.redrive(which=0, fixed=True)
    machine.wait(seconds=2.0)
    deliver(machine, "inventory")
    assert not found(machine, "inventory", "SELECT FROM app.products WHERE reserved > 0")
    deliver(machine, "order", "payment", "order")


def a_cancel_overtakes_its_charge(machine: OrdersMachine) -> None:
    """Payment hears of the end of an order first, and then that it should charge it (M4)."""
    deliver(machine, "inventory")
    machine.poison(service="payment")
    deliver(machine, "payment", source="inventory-service")
    machine.cancel(which=0)
    deliver(machine, "order", "payment")
    machine.redrive(which=0, fixed=True)
    machine.wait(seconds=2.0)
    deliver(machine, "payment", "order", "inventory", "order")
    owed = "SELECT FROM messaging.deliveries WHERE kind = 'charge' AND state <> 'REFUSED'"
    assert not found(machine, "payment", owed), "there is a tombstone, and nothing else"


def found(machine: OrdersMachine, service: str, statement: str) -> bool:
    """Whether there is such a row."""
    return bool(machine.world.run(machine.world.databases.fetch(service, statement)))


async def _ask_for_release(machine: OrdersMachine) -> None:
    messaging = machine.world.lives["order"].messaging
    assert messaging is not None
    order_id = machine.wishes[0].order_id
    assert order_id is not None
    async with messaging.ports.database.transaction() as transaction:
        asked = StockReleaseRequested(order_id=UUID(order_id))
        messaging.ports.unit(transaction).publish(asked, key=order_id)


SCRIPTS: tuple[Script, ...] = (
    a_charges_answer_is_lost,
    a_charge_never_arrives,
    a_refunds_answer_is_lost,
    a_process_dies_while_it_charges,
    a_payment_overtakes_its_stock,
    a_release_overtakes_its_order,
    a_cancel_overtakes_its_charge,
)
