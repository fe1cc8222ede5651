"""Faults of outside calls: whether to call, what an outcome means, who may say when."""

from __future__ import annotations

from mutants.mutant import Mutant

_ROWS = "messaging/adapters/postgres/deliveries.py"
_DELIVERER = "messaging/test_deliverer.py::"
_CONTRACT = "messaging/postgres/test_dead_letters_and_deliveries.py::TestPostgresDeliveries::"

MUTANTS = (
    Mutant(
        name="cancel-mark-not-read",
        fault="the cancel mark is not read before a call",
        harm="an order is charged after its customer cancelled it",
        file="messaging/runtime/deliverer.py",
        old="                marked = await self._deliveries.marks([each.id for each in group])",
        new="                marked: set[object] = set()",
        tests=(_DELIVERER + "test_m2_a_mark_set_while_a_call_waits_in_the_queue_is_seen",),
    ),
    Mutant(
        name="deadline-ignored",
        fault="`not_after` is not looked at before a call",
        harm="after an outage dead orders are charged",
        file="messaging/runtime/deliverer.py",
        old="                elif delivery.not_after is not None and delivery.not_after <= now:",
        new="                elif not now:",
        tests=(_DELIVERER + "test_m2_past_its_deadline_nothing_is_called",),
    ),
    Mutant(
        name="unknown-repeated-blindly",
        fault="a call whose outcome is unknown is made again without asking",
        harm="a customer pays twice at a provider that keeps no keys",
        file="messaging/runtime/delivery.py",
        old="        case Unknown(reason):\n"
        "            return _again(delivery, policy, random, reason=reason, counts=True, "
        "ask_first=True)",
        new="        case Unknown(reason):\n"
        "            return _again(delivery, policy, random, reason=reason, counts=True, "
        "ask_first=False)",
        tests=(_DELIVERER + "test_m6_an_unknown_call_is_asked_about_and_never_repeated_blindly",),
    ),
    Mutant(
        name="expired-lease-called-at-once",
        fault="who takes over an expired lease calls without asking",
        harm="a process that died in the middle of a charge makes the next one charge again",
        file=_ROWS,
        old="SET ask_first = ask_first OR lease_token IS NOT NULL,",
        new="SET ask_first = ask_first,",
        tests=(_CONTRACT + "test_expired_lease_means_ask_first",),
    ),
    Mutant(
        name="not-found-too-early",
        fault='"not found" is believed while the call may still work',
        harm="a slow provider captures a charge twice",
        file="messaging/runtime/delivery.py",
        old="    if left > 0:\n",
        new="    if left > policy.surely_over_seconds:\n",
        tests=(_DELIVERER + "test_m6_not_found_counts_only_when_the_call_is_surely_over",),
    ),
    Mutant(
        name="breaker-counts-attempts",
        fault="a rejection by the open breaker counts as an attempt",
        harm="a provider's outage parks every charge that was owed meanwhile",
        file="messaging/runtime/outside.py",
        old='            return Failed("breaker open", counts=False, retry_after_seconds=wait)',
        new='            return Failed("breaker open", counts=True, retry_after_seconds=wait)',
        tests=(_DELIVERER + "test_an_open_breaker_spends_time_and_no_attempt",),
    ),
    Mutant(
        name="outage-counted",
        fault="a query that did not get through counts as an attempt",
        harm="a provider that is down for long leaves captured payments to operators",
        file="messaging/runtime/outside.py",
        old="            return Failed(str(error), counts=not is_query)",
        new="            return Failed(str(error), counts=True)",
        tests=(_DELIVERER + "test_a_query_that_does_not_get_through_is_no_attempt",),
    ),
    Mutant(
        name="decline-opens-the-breaker",
        fault="a business refusal counts as a failure of the transport",
        harm="a few declined cards stop all payments",
        file="messaging/runtime/outside.py",
        old="        failed = isinstance(outcome, Failed | Unknown)",
        new="        failed = isinstance(outcome, Failed | Unknown | Refused)",
        tests=(_DELIVERER + "test_business_refusals_do_not_open_the_breaker",),
    ),
    Mutant(
        name="lease-token-not-checked",
        fault="who lost the lease of a call still says when it is tried next",
        harm="two processes make the same call at the same time",
        file=_ROWS,
        old="AND d.lease_token = $7 AND d.state = 'PENDING'",
        new="AND $7::uuid IS NOT NULL AND d.state = 'PENDING'",
        tests=(_CONTRACT + "test_foreign_token_schedules_nothing",),
    ),
    Mutant(
        name="captured-dropped-with-the-lease",
        fault="an outcome is only recorded while the call's lease lasts",
        harm="money was taken and nobody knows of it",
        file=_ROWS,
        old="  AND (own.state IN ('PENDING', 'PARKED') OR ",
        new="  AND (d.lease_until IS NULL OR d.lease_until > clock_timestamp())\n"
        "  AND (own.state IN ('PENDING', 'PARKED') OR ",
        tests=(_CONTRACT + "test_captured_is_recorded_though_its_lease_is_over",),
    ),
    Mutant(
        name="refused-for-ever",
        fault="a capture that is found after a refusal is not recorded",
        harm="a cancelled order's money is kept",
        file=_ROWS,
        old=" OR own.state = 'REFUSED' AND s.state = 'DELIVERED')",
        new=")",
        tests=(_CONTRACT + "test_captured_is_recorded_over_a_refusal",),
    ),
)
