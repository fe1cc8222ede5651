"""Which orders the payment simulator captures: the same order always gets the same answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


def java_uuid_hash(value: UUID) -> int:
    """`java.util.UUID.hashCode` as an unsigned 32-bit number."""
    folded = (value.int >> 64) ^ (value.int & 0xFFFF_FFFF_FFFF_FFFF)
    return ((folded >> 32) ^ folded) & 0xFFFF_FFFF


def simulated_success(order_id: UUID, *, success_rate: float, force_outcome: str = "") -> bool:
    """Whether the payment simulator captures (contracts 1.4): the same order, the same answer."""
    forced = force_outcome.lower()
    if forced in ("success", "failure"):
        return forced == "success"
    return (java_uuid_hash(order_id) & 0x7FFF_FFFF) % 100 < success_rate * 100
