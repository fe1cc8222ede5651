"""What follows from an outside call's outcome: a pure decision (protocol M2, M6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.outcome import Delivered, Failed, NotFound, Refused, Unknown
from waybill.messaging.core.ports import Park, Retry
from waybill.messaging.core.retry import Backoff
from waybill.messaging.core.retry_budget import RetryBudgetPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from waybill.messaging.core.outcome import QueryOutcome
    from waybill.messaging.core.ports import Delivery

Verdict = Delivered | Refused | Retry | Park
DEADLINE = "deadline"
CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class DeliveryPolicy:
    """How one kind of outside call is made.

    `timeout_seconds + margin_seconds` is the time after which a call that was begun has surely
    ended, at the other side too; it is below `lease_seconds`, so that nobody else calls before.
    `attempts_max` parks a call whose outcome stays unknown. One that fails, so that nothing
    happened there, is made again until it works or its `not_after` comes, because an outage costs
    no attempts; `failures_max` parks that too, where somebody is told after so many tries.
    `uncounted_seconds` is about the pause after a try that made no call (breaker open).
    """

    timeout_seconds: float = 5.0
    margin_seconds: float = 2.0
    lease_seconds: float = 30.0
    concurrency_max: int = 64
    queue_max: int = 2_000
    claim_size_max: int = 200
    settle_size_max: int = 500
    poll_seconds: float = 1.0
    attempts_max: int = 40
    failures_max: int | None = None
    uncounted_seconds: float = 1.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base_seconds=1.0))
    settle_backoff: Backoff = field(default_factory=Backoff)
    retry_budget: RetryBudgetPolicy = field(default_factory=RetryBudgetPolicy)

    def __post_init__(self) -> None:
        if self.timeout_seconds + self.margin_seconds >= self.lease_seconds:
            reason = (
                f"timeout_seconds {self.timeout_seconds} + margin_seconds {self.margin_seconds} "
                f"must be below lease_seconds {self.lease_seconds}: else a second process calls "
                "while the first call may still work (protocol M6)"
            )
            raise ConfigurationError(reason)
        limits = (self.concurrency_max, self.queue_max, self.attempts_max, self.claim_size_max)
        failures_max = 1 if self.failures_max is None else self.failures_max
        if min(*limits, failures_max) < 1:
            reason = (
                "concurrency_max, queue_max, claim_size_max, attempts_max and failures_max are at "
                "least 1"
            )
            raise ConfigurationError(reason)

    @property
    def surely_over_seconds(self) -> float:
        """After this a call that was begun is over, and "not found" means that it never came."""
        return self.timeout_seconds + self.margin_seconds


def after_call(
    outcome: QueryOutcome, delivery: Delivery, policy: DeliveryPolicy, random: Callable[[], float]
) -> Verdict:
    """The verdict on a call that was made without a query before it."""
    match outcome:
        case Delivered() | Refused():
            return outcome
        case Failed(reason, counts, retry_after):
            return _again(
                delivery,
                policy,
                random,
                reason=reason,
                counts=counts,
                ask_first=delivery.ask_first,
                floor_seconds=retry_after or 0.0,
            )
        case Unknown(reason):
            return _again(delivery, policy, random, reason=reason, counts=True, ask_first=True)
        case NotFound():
            reason = "a call was answered with NotFound, which only a query may say"
            return _again(delivery, policy, random, reason=reason, counts=True, ask_first=True)


def after_query(
    outcome: QueryOutcome,
    delivery: Delivery,
    policy: DeliveryPolicy,
    random: Callable[[], float],
    *,
    begun_seconds_ago: float,
) -> Verdict:
    """The verdict on the answer to "what became of this key?".

    "Not found" counts once the call is surely over; then the same key may be called again, in a
    turn of its own that looks at the deadline and the marks anew.
    """
    if not isinstance(outcome, NotFound):
        return after_call(outcome, delivery, policy, random)
    left = policy.surely_over_seconds - begun_seconds_ago
    if left > 0:
        return Retry(left, "not found, but the call may still work", counts=False, ask_first=True)
    return Retry(0.0, "not found: call again with the same key", counts=False, ask_first=False)


def _again(
    delivery: Delivery,
    policy: DeliveryPolicy,
    random: Callable[[], float],
    *,
    reason: str,
    counts: bool,
    ask_first: bool,
    floor_seconds: float = 0.0,
) -> Retry | Park:
    """Later, or never again by itself: an unknown outcome is parked, it is no refusal (M6)."""
    if not counts:
        pause = policy.uncounted_seconds * (0.5 + random() / 2)
        return Retry(max(floor_seconds, pause), reason, counts=False, ask_first=ask_first)
    tries_max = policy.attempts_max if ask_first else policy.failures_max
    if tries_max is not None and delivery.attempts + 1 >= tries_max:
        return Park(f"{reason} (attempt {delivery.attempts + 1} of {tries_max})")
    pause = policy.backoff.delay_seconds(delivery.attempts, random)
    # Without an end by itself, half of the attempts are kept for an outcome that may be unknown.
    counts = tries_max is not None or delivery.attempts < policy.attempts_max // 2
    return Retry(max(floor_seconds, pause), reason, counts=counts, ask_first=ask_first)
