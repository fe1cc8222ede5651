"""Messages in parts that one INSERT carries: the servers refuse a larger statement unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from waybill.messaging.core.message import Message

STATEMENT_ROWS_MAX = 500
STATEMENT_BYTES_MAX = 2 * 1024 * 1024
"""Values of one INSERT, but for its last: escaped they fit into max_allowed_packet (16 MiB)."""


def parts(messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
    """Slices that one statement can carry."""
    start = size = 0
    for place, message in enumerate(messages):
        full = place - start >= STATEMENT_ROWS_MAX or size >= STATEMENT_BYTES_MAX
        if full:
            yield start, place
            start, size = place, 0
        size += len(message.value)
    yield start, len(messages)
