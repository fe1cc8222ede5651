"""Faults of the services: what is placed, how orders, stock and payments answer."""

from __future__ import annotations

from mutants.mutant import Mutant

_INTAKE = "commerce/orders/intake.py"
_INTAKE_TESTS = "commerce/test_orders_intake.py::"
_ORDERS_TESTS = "commerce/test_orders_handlers.py::"
_STOCK_TESTS = "commerce/test_inventory_domain.py::"
_STOCK_HANDLER_TESTS = "commerce/test_inventory_handlers.py::"
_WAITED = "test_c2_a_unit_that_waited_for_an_order_sees_what_it_waited_for"

INTAKE = (
    Mutant(
        name="key-without-fingerprint",
        fault="an idempotency key is looked up without its fingerprint",
        harm="another body under a used key is answered with the first order, as if it were placed",
        file=_INTAKE,
        old="    if record.request_hash != entry.request.fingerprint:",
        new="    if not record.request_hash:",
        tests=(_INTAKE_TESTS + "test_another_payload_under_a_used_key_is_refused",),
    ),
    Mutant(
        name="own-order-taken-for-anothers",
        fault="a flush that is run again takes its own committed order for somebody else's",
        harm="after a lost COMMIT answer a new order is answered as the replay of an old one",
        file=_INTAKE,
        old="            records.update(await self.orders.read_keys(transaction, lost))",
        new="            records.update({key: msgspec.structs.replace(found, order_id=UUID(int=0)) "
        "for key, found in (await self.orders.read_keys(transaction, lost)).items()})",
        tests=(_INTAKE_TESTS + "test_a_flush_that_is_run_again_knows_its_own_commit",),
    ),
    Mutant(
        name="neighbours-of-a-bad-request",
        fault="a request that cannot be stored fails all that came with it",
        harm="one customer's mistake is 499 others' error",
        file="messaging/runtime/group_commit.py",
        old="        if len(batch) == 1:\n",
        new="        if [entry.fail(error) for entry in batch]:\n",
        tests=("messaging/test_group_commit.py::test_i3_one_bad_request_fails_alone",),
    ),
    Mutant(
        name="total-through-a-float",
        fault="an order's total is summed up in floats",
        harm="some customers are charged a cent, or a fraction of one, too much",
        file="commerce/orders/domain.py",
        old="    return sum((line.quantity * line.unit_price for line in items), Decimal(0))",
        new="    return Decimal(sum(line.quantity * float(line.unit_price) for line in items))",
        tests=("commerce/test_orders_domain.py::test_placing_an_order",),
    ),
)

DECISIONS = (
    Mutant(
        name="order-lock-dropped",
        fault="orders are loaded without their row locks",
        harm="two facts about one order collide: one of them fails, or undoes the other",
        file="commerce/orders/store.py",
        old='WHERE id = ANY($1) ORDER BY id FOR UPDATE"  # noqa: S608',
        new='WHERE id = ANY($1) ORDER BY id"  # noqa: S608',
        tests=(_ORDERS_TESTS + _WAITED,),
    ),
    Mutant(
        name="lock-after-load",
        fault="orders are locked after they were loaded",
        harm="a unit decides from old facts: it fails, or overwrites what came meanwhile",
        file="commerce/orders/store.py",
        old="    rows = await transaction.fetch(_LOCK, sorted(order_ids))",
        new='    unlocked = _LOCK.removesuffix("FOR UPDATE"); '
        "rows = await transaction.fetch(unlocked, sorted(order_ids)); "
        "await transaction.fetch(_LOCK, sorted(order_ids))",
        tests=(_ORDERS_TESTS + _WAITED,),
    ),
    Mutant(
        name="stock-lock-dropped",
        fault="stock levels are loaded without their row locks",
        harm="the same unit is sold twice",
        file="commerce/inventory/store.py",
        old="    )) ORDER BY id FOR UPDATE\n",
        new="    )) ORDER BY id\n",
        tests=(_STOCK_HANDLER_TESTS + "test_concurrent_batches_never_oversell_and_never_deadlock",),
    ),
    Mutant(
        name="fact-swallowed",
        fault="a fact that changes no status is forgotten",
        harm="a payment whose message overtakes its stock's is lost: paid, and for ever PENDING",
        file="commerce/orders/domain.py",
        old="    if result.progress is order.progress:\n",
        new="    if not result.edges:\n",
        tests=("commerce/test_orders_domain.py::test_an_early_payment_fact_confirms_in_the_end",),
    ),
    Mutant(
        name="refund-forgotten",
        fault="a payment that arrives after the cancel is noted, and nothing follows",
        harm="the customer of a cancelled order never gets the money back",
        file="commerce/process.py",
        old="        after = Progress(progress.status, facts, progress.reason, progress.detail)\n"
        "        return Advance(after, (), _difference(process, progress, after))",
        new="        return Advance(\n"
        "            Progress(progress.status, facts, progress.reason, progress.detail)\n"
        "        )",
        tests=("commerce/test_orders_domain.py::test_a_capture_of_a_cancelled_order_is_refunded",),
    ),
    Mutant(
        name="deadline-concludes",
        fault="the deadline cancels in place of asking",
        harm="an order is cancelled though it was paid and only an answer is late",
        file="commerce/orders/domain.py",
        old="    questions = unanswered(process, order.progress)\n",
        new="    return cancel(process, order, now)\n",
        tests=("commerce/test_orders_domain.py::test_the_deadline_asks_and_does_not_conclude",),
    ),
    Mutant(
        name="timeline-without-its-order",
        fault="a timeline entry is written and its order's change is not",
        harm="support sees a confirmed order in the timeline and a pending one beside it",
        file="commerce/orders/store.py",
        old="SET status = u.status, facts",
        new="SET status = CASE WHEN u.settled_at IS NULL THEN u.status ELSE o.status END, facts",
        tests=(_ORDERS_TESTS + "test_an_order_is_confirmed_once_whatever_fact_comes_first",),
    ),
    Mutant(
        name="stock-by-the-sum",
        fault="stock is decided by the sum of a batch's orders",
        harm="small orders are refused because a large one came with them",
        file="commerce/inventory/domain.py",
        old="            if available < each.quantity:\n",
        new='            sums = self.__dict__.setdefault("sums", {}); '
        "sums[each.product_id] = sums.get(each.product_id, 0) + each.quantity\n"
        "            if self._stock[each.product_id].available < sums[each.product_id]:\n",
        tests=(_STOCK_TESTS + "test_a_batch_is_decided_order_by_order",),
    ),
    Mutant(
        name="release-without-tombstone",
        fault="a release that overtakes its order is answered and leaves no tombstone",
        harm="the late order holds stock that nobody will ever release",
        file="commerce/inventory/domain.py",
        old="            known = Reservation(ask.order_id, ReservationStatus.RELEASED)\n",
        new="            return self._publications.append("
        "Publication(StockReleased(order_id=ask.order_id), 1, item.message))\n",
        tests=(_STOCK_TESTS + "test_release_that_overtakes_the_order_leaves_a_tombstone",),
    ),
    Mutant(
        name="cancel-without-tombstone",
        fault="payment forgets a cancel that overtakes its charge",
        harm="a cancelled order is charged",
        file="commerce/payments/domain.py",
        old="                self._bury(cause, cancelled.order_id, Reason.CUSTOMER_CANCELLED, "
        "_CANCELLED)",
        new="                return",
        tests=("commerce/test_payments_handlers.py::test_a_tombstone_refuses_what_comes_late",),
    ),
    Mutant(
        name="charged-again-when-asked-again",
        fault="payment knows only the orders of the batch in hand",
        harm="a question that is asked again charges again",
        file="commerce/payments/domain.py",
        old="        return self.written.get(order_id) or self._before.get(order_id)",
        new="        return self.written.get(order_id)",
        tests=("commerce/test_payments_domain.py::test_a_charge_is_owed_once",),
    ),
)
