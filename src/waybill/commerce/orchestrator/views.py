"""What the orchestrator shows over HTTP."""

from __future__ import annotations

from uuid import UUID

import msgspec

from waybill.commerce.http.fields import Instant


class SagaStep(msgspec.Struct, frozen=True, rename="camel"):
    """A fact as the orchestrator took it; without statuses where it changed none."""

    sequence: int
    event: str
    from_status: str | None
    to_status: str | None
    at: Instant
    message_id: UUID | None = None
    detail: str | None = None


class SagaView(msgspec.Struct, frozen=True, rename="camel"):
    """The process of one order. `settled_at` is null while an answer is outstanding."""

    order_id: UUID
    status: str
    facts: tuple[str, ...]
    reason: str | None
    asks: int
    settled_at: Instant | None
    created_at: Instant
    updated_at: Instant
    steps: tuple[SagaStep, ...]
