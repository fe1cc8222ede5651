"""Held records go to the log after all, or are let go: by the lane's owner, in seq order (L4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core import crash_points
from waybill.messaging.core.errors import LeaseLostError, UnsendableError
from waybill.messaging.core.ports import Written
from waybill.messaging.core.relay import HeldState, ToHold, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from waybill.messaging.core.message import Record
    from waybill.messaging.core.ports import LogWriter
    from waybill.messaging.core.relay import HeldRecord, RelayStore
    from waybill.messaging.runtime.relay_lane import Lane


async def release(
    store: RelayStore,
    writer: LogWriter,
    token: UUID,
    lane: Lane,
    keys: Collection[str],
    *,
    page_max: int,
) -> None:
    """Act on the verdicts of these keys. Nothing else of the lane may be under way meanwhile.

    A key of which nothing waits any more flows again. Raises LeaseLostError, and whatever kept
    the log from taking a record: the verdict stays, and is tried again.
    """
    for key in sorted(keys):
        while True:
            held = await store.held_records(lane.number, key, page_max)
            if not held:
                lane.held_keys.discard(key)
                break
            if not await _act(store, writer, token, lane.number, held):
                break


async def _act(
    store: RelayStore,
    writer: LogWriter,
    token: UUID,
    lane: int,
    held: Sequence[HeldRecord],
) -> bool:
    """Send or let go what comes before the first that waits for a verdict; whether to go on."""
    to_send, skipped, reaches_all = _sorted_out(held)
    if not to_send and not skipped:
        return False
    if crash_points.hook is not None:
        await crash_points.hook("relay.before_release", str(lane))
    written = await writer.write(to_send) if to_send else Written(0)
    count = len(to_send) if written.error is None else written.acknowledged
    refused = None
    if written.error is not None and count < len(to_send):
        failed = to_send[count].seq
        skipped = [seq for seq in skipped if seq < failed]
        if isinstance(written.error, UnsendableError):
            refused = ToHold(lane, failed, HeldState.HELD, str(written.error))
    sent = [record.seq for record in to_send[:count]]
    is_ours = await store.settle(token, lane, sent=sent, skipped=skipped, refused=refused)
    if crash_points.hook is not None:
        await crash_points.hook("relay.after_release", str(lane))
    if not is_ours:
        raise LeaseLostError(f"lane {lane} is another member's now")
    if written.error is not None and refused is None:
        raise written.error
    return reaches_all and refused is None


def _sorted_out(held: Sequence[HeldRecord]) -> tuple[list[Record], list[int], bool]:
    """What to send, what to let go, and whether that is all of it."""
    to_send: list[Record] = []
    skipped: list[int] = []
    for each in held:
        if each.verdict is Verdict.SKIP:
            skipped.append(each.record.seq)
        elif each.state is HeldState.HELD and each.verdict is None:
            return to_send, skipped, False
        else:
            to_send.append(each.record)
    return to_send, skipped, True
