"""Where the application reports requests."""

from __future__ import annotations

from typing import Protocol


class HttpObserver(Protocol):
    """Told of every response, after its last byte was handed to the server."""

    def responded(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is the template (`/api/orders/{order_id}`), or UNKNOWN; `method` too is bounded.

        Must not raise or block.
        """
