"""The process: facts in any order, each message owed once, an ending that never changes."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waybill.blueprints.choreography import PROCESS
from waybill.commerce.process import (
    CANCEL_REQUESTED,
    Ending,
    Fact,
    Process,
    Progress,
    Step,
    advance,
    begin,
    may_cancel,
    owed,
    settled,
    unanswered,
)
from waybill.messaging.core.errors import ConfigurationError, PermanentError

if TYPE_CHECKING:
    from collections.abc import Sequence

FACTS = sorted(PROCESS.facts)
facts = st.lists(st.sampled_from(FACTS), max_size=12)


def fold(names: Sequence[str]) -> tuple[Progress, list[tuple[str, str]], list[str]]:
    """Progress, edges and emits after these facts."""
    progress = begin(PROCESS)
    edges: list[tuple[str, str]] = []
    emits: list[str] = []
    for name in names:
        result = advance(PROCESS, progress, Fact(name))
        progress = result.progress
        edges += result.edges
        emits += result.emits
    return progress, edges, emits


def test_happy_path() -> None:
    """Stock, then payment: the order walks its lifecycle and is confirmed once."""
    progress, edges, emits = fold(["StockReserved", "PaymentSucceeded"])
    assert progress.status == "CONFIRMED"
    assert edges == [("PENDING", "STOCK_RESERVED"), ("STOCK_RESERVED", "CONFIRMED")]
    assert emits == ["OrderConfirmed"]
    assert settled(PROCESS, progress)


def test_early_payment_is_kept_and_every_edge_is_passed() -> None:
    """A payment fact that comes first is kept, and the stock fact passes both edges (D1, C40)."""
    early = advance(PROCESS, begin(PROCESS), Fact("PaymentSucceeded"))
    assert (early.progress.status, early.edges, early.emits) == ("PENDING", (), ())
    late = advance(PROCESS, early.progress, Fact("StockReserved"))
    assert late.edges == (("PENDING", "STOCK_RESERVED"), ("STOCK_RESERVED", "CONFIRMED"))
    assert late.emits == ("OrderConfirmed",)


def test_refused_payment_undoes_stock_after_the_failure() -> None:
    """A refused payment cancels first and then asks the stock back, in the refusal's words."""
    reserved = advance(PROCESS, begin(PROCESS), Fact("StockReserved")).progress
    refusal = Fact("PaymentFailed", "payment_refused", "Payment declined by provider")
    result = advance(PROCESS, reserved, refusal)
    assert result.emits == ("OrderCancelled", "StockReleaseRequested")
    assert result.progress.reason == "payment_refused"
    assert result.progress.detail == "Payment declined by provider"
    assert not settled(PROCESS, result.progress)
    released = advance(PROCESS, result.progress, Fact("StockReleased"))
    assert released.emits == ()
    assert settled(PROCESS, released.progress)


def test_refused_stock_settles_at_once() -> None:
    """Nothing is held after a refused first step, and the second was never started."""
    result = advance(PROCESS, begin(PROCESS), Fact("StockRejected", "stock_unavailable"))
    assert result.emits == ("OrderCancelled",)
    assert settled(PROCESS, result.progress)


def test_steps_done_after_the_failure_are_undone_too() -> None:
    """A terminal order stays armed: what turns out done later is undone (M5)."""
    cancelled = advance(PROCESS, begin(PROCESS), Fact(CANCEL_REQUESTED, "customer_cancelled"))
    assert cancelled.emits == ("OrderCancelled",)
    stock = advance(PROCESS, cancelled.progress, Fact("StockReserved"))
    assert stock.emits == ("StockReleaseRequested",)
    money = advance(PROCESS, stock.progress, Fact("PaymentSucceeded"))
    assert money.emits == ("RefundRequested",)
    assert unanswered(PROCESS, money.progress) == ("RefundRequested", "StockReleaseRequested")


def test_capture_found_after_a_refusal_is_refunded() -> None:
    """Contradicting facts: refused, later found captured, so it is given back."""
    progress, _, emits = fold(["StockReserved", "PaymentFailed", "PaymentSucceeded"])
    assert emits == ["OrderCancelled", "StockReleaseRequested", "RefundRequested"]
    assert progress.status == "CANCELLED"


def test_answer_before_its_question_owes_nothing() -> None:
    """An undo that was answered already is not asked for when the old done fact arrives (M4)."""
    _, _, emits = fold([CANCEL_REQUESTED, "StockReleased", "StockReserved"])
    assert emits == ["OrderCancelled"]


@pytest.mark.parametrize(
    ("seen", "questions"),
    [
        ((), ("OrderCreated",)),
        (("StockReserved",), ("OrderCreated",)),
        (("PaymentSucceeded",), ("OrderCreated",)),
        (("StockReserved", "PaymentSucceeded"), ()),
        (("StockRejected",), ()),
        ((CANCEL_REQUESTED,), ("RefundRequested", "StockReleaseRequested")),
        ((CANCEL_REQUESTED, "StockReserved", "StockReleased"), ("RefundRequested",)),
        ((CANCEL_REQUESTED, "StockRejected"), ()),
        (("PaymentFailed",), ("StockReleaseRequested",)),
        (("StockReserved", "PaymentFailed", "StockReleased"), ()),
    ],
)
def test_what_the_deadline_asks(seen: tuple[str, ...], questions: tuple[str, ...]) -> None:
    """The deadline asks what is unanswered: a step's start, or the undo that ends it (M3)."""
    assert unanswered(PROCESS, fold(seen)[0]) == questions


def test_cancel_comes_too_late_after_confirmation() -> None:
    """Confirm and cancel: exactly one wins (P8)."""
    assert may_cancel(PROCESS, begin(PROCESS))
    assert may_cancel(PROCESS, fold([CANCEL_REQUESTED])[0])
    assert not may_cancel(PROCESS, fold(["StockReserved", "PaymentSucceeded"])[0])


def test_unknown_facts_are_refused() -> None:
    """A fact that the process does not know is a dead letter, never swallowed."""
    with pytest.raises(PermanentError, match="Nonsense"):
        advance(PROCESS, begin(PROCESS), Fact("Nonsense"))


@given(facts)
def test_repeats_change_nothing(names: list[str]) -> None:
    """Each fact counts once, however often it comes."""
    assert fold(names)[0] == fold([name for name in names for _ in range(2)])[0]
    assert fold(names)[2] == fold(names + names)[2]


@given(facts)
def test_nothing_is_owed_twice_and_edges_are_legal(names: list[str]) -> None:
    """Every event is emitted at most once, at most one is final, every edge is the lifecycle's."""
    progress, edges, emits = fold(names)
    assert len(emits) == len(set(emits))
    assert sum(name in ("OrderConfirmed", "OrderCancelled") for name in emits) <= 1
    assert set(owed(PROCESS, progress)) <= set(emits)
    walked = [PROCESS.initial, *(there for _, there in edges)]
    assert walked[-1] == progress.status
    for (here, there), before in zip(edges, walked, strict=False):
        assert here == before
        assert there in PROCESS.lifecycle[here]


@given(facts, st.sampled_from(FACTS))
def test_a_terminal_status_never_changes(names: list[str], late: str) -> None:
    """Whatever comes after the ending, the status and its reason stay."""
    progress = fold(names)[0]
    after = advance(PROCESS, progress, Fact(late, "deadline")).progress
    if PROCESS.is_terminal(progress.status):
        assert (after.status, after.reason) == (progress.status, progress.reason)
    assert after.facts == progress.facts | {late}


def test_all_orders_of_consistent_facts_agree() -> None:
    """What happened decides the ending and what is owed, not the order in which it is heard."""
    for heard in (
        ("StockReserved", "PaymentSucceeded"),
        ("StockReserved", "PaymentFailed", "StockReleased"),
        ("StockReserved", CANCEL_REQUESTED, "PaymentFailed", "StockReleased"),
    ):
        ends = {
            (result[0].status, settled(PROCESS, result[0]))
            for result in map(fold, permutations(heard))
        }
        assert len(ends) == 1, heard


def step(**changes: object) -> Step:
    """A step of a process that has nothing to do with orders."""
    values: dict[str, object] = {
        "name": "book",
        "ask": "Asked",
        "done": "Booked",
        "refused": "Refused",
        "refusal": "full",
        "undo": "UnbookRequested",
        "undone": "Unbooked",
    }
    return Step(**{**values, **changes})  # type: ignore[arg-type]


def process(*steps: Step, **changes: object) -> Process:
    """A process of these steps."""
    values: dict[str, object] = {
        "name": "trip",
        "steps": steps,
        "initial": "OPEN",
        "confirmed": Ending("DONE", "TripDone"),
        "failed": Ending("OVER", "TripOver"),
        "lifecycle": {"OPEN": frozenset(("DONE", "OVER"))},
    }
    return Process(**{**values, **changes})  # type: ignore[arg-type]


def test_a_step_without_undo_is_refused() -> None:
    """An effect outside the order needs an undo wherever something may come after it (M1)."""
    with pytest.raises(ConfigurationError, match="M1"):
        process(step(undo=None, undone=None))
    process(step(undo=None, undone=None), cancellable=False, has_deadline=False)
    process(step(undo=None, undone=None, outside_effect=False))


@pytest.mark.parametrize(
    ("steps", "changes", "says"),
    [
        ((), {}, "needs a step"),
        ((step(), step(name="again")), {}, "a name of its own"),
        ((step(undo=None),), {}, "both undo and undone"),
        ((step(status="HALF"),), {}, "OPEN to HALF"),
        ((step(),), {"lifecycle": {"OPEN": frozenset(("DONE",))}}, "OPEN to OVER"),
        (
            (step(),),
            {"lifecycle": {"OPEN": frozenset(("DONE", "OVER")), "DONE": frozenset(("OVER",))}},
            "DONE is terminal",
        ),
    ],
)
def test_a_process_that_cannot_work_is_refused_at_start(
    steps: tuple[Step, ...], changes: dict[str, object], says: str
) -> None:
    """Mistakes in a process are configuration errors that say what is wrong."""
    with pytest.raises(ConfigurationError, match=says):
        process(*steps, **changes)
