"""How much of the calls to one outside party may be retries: a bucket of tokens, pure.

The costs are those of botocore's standard mode (botocore/retries/quota.py). As a success gives
one token and a retry takes five, an ailing party is called about 1.2 times as often as is owed.
A call that is owed is never given up for want of tokens, so they come back with time as well, and
at once when the party is surely well again: what waited is then made within a minute (P1).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryBudgetPolicy:
    """The bucket's size, prices, and how it fills.

    A retry that finds too few tokens makes no call and comes again after about `wait_seconds`.
    `healed_successes` calls that worked in a row fill the bucket.
    """

    tokens_max: float = 500.0
    retry_tokens: float = 5.0
    timeout_tokens: float = 10.0
    """A retry after an unknown outcome (a time-out, a lost answer): the dearer failure."""
    success_tokens: float = 1.0
    tokens_per_second: float = 10.0
    healed_successes: int = 50
    wait_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_tokens <= self.timeout_tokens <= self.tokens_max:
            reason = "retry_tokens must be above 0, at most timeout_tokens, and that tokens_max"
            raise ValueError(reason)
        if self.tokens_per_second <= 0 or self.healed_successes < 1:
            reason = "tokens_per_second is above 0 and healed_successes at least 1: retries go on"
            raise ValueError(reason)


class RetryBudget:
    """One outside party's bucket. Not thread-safe: one event loop. Times are monotonic seconds."""

    def __init__(self, policy: RetryBudgetPolicy) -> None:
        self.policy = policy
        self._tokens = policy.tokens_max
        self._filled_at = 0.0
        self._successes = 0

    def tokens(self, now: float) -> float:
        """What is left."""
        passed = max(0.0, now - self._filled_at)
        self._filled_at = now
        self._add(passed * self.policy.tokens_per_second)
        return self._tokens

    def take(self, now: float, *, after_timeout: bool) -> bool:
        """Pay for a retry; False if there is too little left for it."""
        price = self.policy.timeout_tokens if after_timeout else self.policy.retry_tokens
        if self.tokens(now) < price:
            return False
        self._tokens -= price
        return True

    def record(self, *, failed: bool) -> None:
        """A call has ended. A business refusal is a success of the transport."""
        if failed:
            self._successes = 0
            return
        self._successes += 1
        healed = self._successes % self.policy.healed_successes == 0
        self._add(self.policy.tokens_max if healed else self.policy.success_tokens)

    def _add(self, tokens: float) -> None:
        self._tokens = min(self.policy.tokens_max, self._tokens + tokens)
