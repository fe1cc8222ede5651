"""Messages in parts that one INSERT carries: the servers refuse a larger statement unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.messaging.core.outbox_limits import size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from waybill.messaging.core.message import Message

STATEMENT_ROWS_MAX = 500
STATEMENT_BYTES_MAX = 1024 * 1024
"""Of one INSERT of several rows; a message that is larger has one to itself. Escaped it is twice
as much, which the smallest max_allowed_packet that is in use (4 MiB) still has room for."""


def parts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Slices of rows that have these sizes, for a statement each."""
    start = total = 0
    for place, size in enumerate(sizes):
        full = place - start >= STATEMENT_ROWS_MAX or total + size > STATEMENT_BYTES_MAX
        if full and place > start:
            yield start, place
            start, total = place, 0
        total += size
    if sizes:
        yield start, len(sizes)


def row_bytes(message: Message) -> int:
    """What a message takes in a statement, before it is escaped."""
    texts = len(message.correlation_id) + len(message.type) + len(message.producer)
    texts += len(message.traceparent or "") + len(message.aggregate_type)
    size = size_of(message) + 4 * texts
    # Headers are stored as base64.
    return size + sum(map(len, message.headers.values())) // 2 if message.headers else size
