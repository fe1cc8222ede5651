"""Where reading of a partition begins (protocol C15): pure, and told to whoever watches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from waybill.messaging.adapters.kafka.assignment import Place
    from waybill.messaging.adapters.kafka.poller import Found
    from waybill.messaging.core.ports import PartitionPosition

logger = logging.getLogger(__name__)


def last_read(
    consumer: str, place: Place, log: str, stored: PartitionPosition | None, found: Found
) -> int:
    """The offset behind which to go on.

    The lower of what the database stored and the group committed: a restored database lies behind
    the group, a group that was reset lies behind the database, and the inbox removes what comes
    twice. A database that knows nothing begins at the log's start, whatever the group says.
    """
    begin = found.low - 1
    if stored is None:
        return begin
    where = f"{consumer}: {place[0]} partition {place[1]}"
    if stored.log != log:
        logger.critical(
            "%s is another log now (%s, it was %s): read from its start, the inbox removes what "
            "was applied before",
            *(where, log, stored.log),
        )
        return begin
    last = stored.offset
    if found.committed is not None:
        last = min(last, found.committed - 1)
    if last < begin:
        logger.critical(
            "%s: offsets %d to %d left the log before they were read: what they held must be "
            "published again from the outbox (waybill relay rewind)",
            *(where, last + 1, begin),
        )
        return begin
    if last >= found.high:
        logger.critical(
            "%s ends at offset %d, %d was read before: the brokers lost records; the relay must "
            "publish them again (waybill relay rewind)",
            *(where, found.high - 1, last),
        )
        return found.high - 1
    return last
