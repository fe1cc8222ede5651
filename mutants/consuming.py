"""Faults of the consumer: units of work, isolation of poison, positions."""

from __future__ import annotations

from mutants.mutant import Mutant

_UNIT = "messaging/runtime/unit.py"
_TESTS = "messaging/test_consumer.py::"
_ON_TRUST = "messaging/postgres/test_units_on_trust.py::"
_LAG = "messaging/test_positions_lag.py::"
_AHEAD = (
    "            await subscription.record_ahead(transaction, positions, ids, granted, move=move)"
)

MUTANTS = (
    Mutant(
        name="position-before-effects",
        fault="the position is committed in a transaction of its own before the effects",
        harm="a crash or an error in between skips messages for ever: orders hang",
        file=_UNIT,
        old=_AHEAD,
        new="            async with self._ports.database.transaction() as own: "
        "await subscription.record(own, positions, ()); "
        "claimed = await self._ports.inbox.claim(transaction, self._consumer, ids); granted()",
        tests=(_TESTS + "test_c4_positions_never_pass_what_is_not_done",),
    ),
    Mutant(
        name="inbox-outside",
        fault="the inbox rows are committed in a transaction of their own, ahead of the effects",
        harm="after a rollback the message counts as applied: a payment or a release is lost",
        file=_UNIT,
        old=_AHEAD,
        new="            async with self._ports.database.transaction() as own: "
        "claimed = await self._ports.inbox.claim(own, self._consumer, ids); "
        "await subscription.record(transaction, positions, ()); granted()",
        tests=(_TESTS + "test_c6_a_transient_error_of_the_handler_rolls_back_the_whole_unit",),
    ),
    Mutant(
        name="duplicates-applied",
        fault="a message that the inbox knows is handed to the handler all the same",
        harm="what arrives twice happens twice: two charges, two mails",
        file=_UNIT,
        old="        return [each for each in received if each.message.id in claimed]",
        new="        return received",
        tests=(_TESTS + "test_p3_a_repeat_in_a_later_batch_changes_nothing",),
    ),
    Mutant(
        name="refused-claim-passes",
        fault="units that take their messages for new ones are not stopped when some are not",
        harm="what arrives twice happens twice: two charges, two mails",
        file="messaging/adapters/postgres/inbox.py",
        old="    fence.holds AND (SELECT",
        new="    true OR fence.holds AND (SELECT",
        tests=(_ON_TRUST + "test_what_was_applied_before_is_not_applied_again",),
    ),
    Mutant(
        name="verdict-before-the-claim",
        fault="an error of a handler counts though it is not known yet whether the message is new",
        harm="a message that was applied long ago becomes a dead letter",
        file=_UNIT,
        old="            if not granted:\n                return None\n",
        new="",
        tests=(_ON_TRUST + "test_an_error_about_what_was_applied_before_condemns_nothing",),
    ),
    Mutant(
        name="acknowledged-before-commit",
        fault="the source is told the new position before the effects are committed",
        harm="retention may drop rows that a restart must read again",
        file=_UNIT,
        old="            if fresh:\n                spans = ",
        new="            await self._acknowledge(subscription, part.positions)\n"
        "            if fresh:\n                spans = ",
        tests=(_TESTS + "test_d3_what_rolls_back_is_never_acknowledged",),
    ),
    Mutant(
        name="unstored-position-acknowledged",
        fault="the source is told of positions that are stored with a later unit only",
        harm="retention may drop rows that a restart must read again",
        file=_UNIT,
        old="        if part.positions and part.move:",
        new="        if part.positions:",
        tests=(_LAG + "test_a_source_is_never_told_of_more_than_is_stored",),
    ),
    Mutant(
        name="lagging-position-left-at-the-end",
        fault="a member that stops does not store the positions that it owes",
        harm="a drain and the audit after it find messages that nobody seems to have read",
        file="messaging/runtime/consumer.py",
        old="            await self._settle(subscription)\n",
        new="",
        tests=(_LAG + "test_a_member_that_stops_stores_what_it_did",),
    ),
    Mutant(
        name="outage-taken-for-poison",
        fault="an outage inside a handler is a verdict on its messages",
        harm="a database that is away for a minute turns good orders into dead letters",
        file=_UNIT,
        old="PermanentError(str(error)) from error\n        except MessagingError:\n",
        new="PermanentError(str(error)) from error\n        except PermanentError:\n",
        tests=(_TESTS + "test_c6_a_transient_error_of_the_handler_rolls_back_the_whole_unit",),
    ),
    Mutant(
        name="poison-in-the-inbox",
        fault="a dead letter leaves an inbox row",
        harm="an operator's redrive is swallowed: the message is never applied",
        file=_UNIT,
        old="                await self._keep(transaction, part.letters)",
        new="                await ports.inbox.claim(transaction, self._consumer, "
        "[each.record.message.id for each in part.letters]); "
        "await self._keep(transaction, part.letters)",
        tests=(_TESTS + "test_c4_poison_leaves_no_inbox_row",),
    ),
    Mutant(
        name="bad-deployment-dead-letters",
        fault="a batch that fails as a whole is dead-lettered message by message",
        harm="one bad deployment fills the dead letters with good orders",
        file="messaging/runtime/isolation.py",
        old="            if count >= self._policy.same_error_count_min and count > allowed:",
        new="            if count > candidates:",
        tests=(_TESTS + "test_c10_a_bad_deployment_pauses_before_any_dead_letter",),
    ),
    Mutant(
        name="constraint-believed-at-once",
        fault="a constraint that refuses a message once makes it a dead letter",
        harm="a neighbour's row that was about to go costs an order its message",
        file="messaging/runtime/isolation.py",
        old="        if isinstance(error, DomainConstraintError):\n"
        "            error = await self._fails(start, index + 1)",
        new="        if error is None:\n            error = await self._fails(start, index + 1)",
        tests=(_TESTS + "test_c6_a_constraint_counts_only_when_it_refuses_a_message_alone_twice",),
    ),
    Mutant(
        name="quiet-position-stands-still",
        fault="with nothing to decide the position does not move over skipped types",
        harm="a quiet consumer holds back retention until the disk is full",
        file="messaging/runtime/consumer.py",
        old="_record_at:\n            await self._record_scanned(subscription)\n",
        new="_record_at:\n            pass\n",
        tests=(_TESTS + "test_d2_with_nothing_to_decide_positions_are_stored_once_a_second",),
    ),
)
