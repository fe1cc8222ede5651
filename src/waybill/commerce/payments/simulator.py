"""A payment provider inside the platform, with a ledger of its own (contracts 1.4).

As a real one it honours idempotency keys for ever, may be slow, and can be asked what became of a
key. Calls that come together are written together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from waybill.commerce.payments.ledger import Charge, Ledger, Refund
from waybill.commerce.payments.simulation import simulated_success
from waybill.messaging.core.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    OverloadedError,
)
from waybill.messaging.core.outcome import Failed, Unknown
from waybill.messaging.runtime.group_commit import GroupCommit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal
    from uuid import UUID

    from waybill.messaging.core.outcome import Outcome, QueryOutcome
    from waybill.messaging.core.ports import Database, Observer, Settlement
    from waybill.messaging.runtime.clock import Clock
    from waybill.messaging.runtime.loop import Loop

Request = TypeVar("Request")


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """How the provider behaves. `delay_seconds` holds each charge before it is captured."""

    success_rate: float = 0.8
    force_outcome: str = ""
    delay_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.success_rate <= 1:
            raise ConfigurationError(f"success rate {self.success_rate} must be from 0 to 1")
        if self.force_outcome.lower() not in ("", "success", "failure"):
            raise ConfigurationError(
                f"forced outcome {self.force_outcome!r} must be empty, success or failure"
            )
        if self.delay_seconds < 0:
            raise ConfigurationError(f"delay {self.delay_seconds} must not be negative")


class SimulatedProvider:
    """A `PaymentProvider`. Captures, declines and refunds. `loops` must run while it is used."""

    name = "simulated"

    def __init__(
        self,
        database: Database,
        settings: SimulatorSettings,
        *,
        clock: Clock,
        observer: Observer,
        random: Callable[[], float],
        new_id: Callable[[], UUID],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._ledger = ledger = Ledger(database, now=clock.now, new_id=new_id)
        self._charges: GroupCommit[Charge, Settlement] = GroupCommit(
            "provider charges",
            self._write_charges,
            clock=clock,
            observer=observer,
            random=random,
        )
        self._refunds: GroupCommit[Refund, Settlement] = GroupCommit(
            "provider refunds", ledger.refund, clock=clock, observer=observer, random=random
        )

    @property
    def loops(self) -> Sequence[Loop]:
        """What writes the ledger."""
        return (self._charges, self._refunds)

    def behave(self, *, force_outcome: str, delay_seconds: float) -> None:
        """From now on decide so, and hold each charge for so long; see SimulatorSettings."""
        self._settings = replace(
            self._settings, force_outcome=force_outcome, delay_seconds=delay_seconds
        )

    async def totals(self) -> tuple[Decimal, Decimal]:
        """Everything ever captured, and everything ever given back."""
        return await self._ledger.totals()

    async def charge(self, key: str, amount: Decimal, currency: str, order_id: UUID) -> Outcome:
        """See PaymentProvider. Cancelled while it is slow, it may still capture."""
        if self._settings.delay_seconds:
            await self._clock.sleep(self._settings.delay_seconds)
        return await _submitted(self._charges, Charge(key, order_id, amount, currency))

    async def refund(self, key: str, charge_key: str, amount: Decimal, currency: str) -> Outcome:
        """See PaymentProvider."""
        return await _submitted(self._refunds, Refund(key, charge_key, amount, currency))

    async def charged(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """See PaymentProvider."""
        return await self._ledger.charged(key, amount, currency)

    async def refunded(self, key: str, amount: Decimal, currency: str) -> QueryOutcome:
        """See PaymentProvider."""
        return await self._ledger.refunded(key, amount, currency)

    async def _write_charges(self, charges: Sequence[Charge]) -> Sequence[Settlement]:
        settings = self._settings
        return await self._ledger.charge(
            [
                (
                    charge,
                    simulated_success(
                        charge.order_id,
                        success_rate=settings.success_rate,
                        force_outcome=settings.force_outcome,
                    ),
                )
                for charge in charges
            ]
        )


async def _submitted(books: GroupCommit[Request, Settlement], request: Request) -> Outcome:
    try:
        return await books.submit(request)
    except OverloadedError as error:
        return Failed(str(error), counts=False, retry_after_seconds=error.retry_after_seconds)
    except OutcomeUnknownError as error:
        return Unknown(str(error))
