"""A service's instances: who gets the next request, and who is left alone for a while."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple

from waybill.messaging.core.breaker import Breaker, BreakerPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from waybill.messaging.core.breaker import Permit

ASIDE_SECONDS: Final = 2.0
"""An instance that has just failed is asked only if no other is there."""


class Instance:
    """One address of a service, `http://host:port`."""

    def __init__(self, url: str, breaker: Breaker) -> None:
        self.url = url
        self.breaker = breaker
        self.in_flight = 0
        self.failed_at = float("-inf")


class Lease(NamedTuple):
    """Leave for one request. Hand it back with `Upstream.done`."""

    instance: Instance
    permit: Permit
    since: float


class Upstream:
    """One service. The instance with the fewest requests is next; in turn among equals.

    One that has just failed comes last.
    """

    def __init__(
        self,
        name: str,
        urls: Iterable[str],
        *,
        random: Callable[[], float],
        monotonic: Callable[[], float],
        policy: BreakerPolicy | None = None,
    ) -> None:
        self.name = name
        self._random = random
        self._monotonic = monotonic
        self._policy = policy or BreakerPolicy(slow_seconds=10.0)
        self._instances: list[Instance] = []
        self._turn = itertools.count()
        self.replace(urls)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where its instances are."""
        return tuple(instance.url for instance in self._instances)

    def replace(self, urls: Iterable[str]) -> None:
        """These are its instances from now on; those that stay keep what is known of them.

        One that goes gets no new request; what it has under way ends there.
        """
        known = {instance.url: instance for instance in self._instances}
        self._instances = [
            known.get(url) or Instance(url, Breaker(self._policy, self._random))
            for url in dict.fromkeys(urls)
        ]

    def lease(self, but: Collection[str] = ()) -> Lease | None:
        """An instance for one request, not one of `but`; None if every breaker is open."""
        now = self._monotonic()
        turn = next(self._turn)
        count = len(self._instances)
        order = [self._instances[(turn + place) % count] for place in range(count)]
        by_load = sorted(  # stable: in turn
            order, key=lambda each: (now - each.failed_at < ASIDE_SECONDS, each.in_flight)
        )
        for instance in by_load:
            if instance.url in but:
                continue
            permit = instance.breaker.permit(now)
            if permit is not None:
                instance.in_flight += 1
                return Lease(instance, permit, now)
        return None

    def done(self, lease: Lease, *, failed: bool | None) -> None:
        """Hand it back. None: it says nothing of the instance (the client went away)."""
        lease.instance.in_flight -= 1
        now = self._monotonic()
        if failed is None:
            lease.instance.breaker.release(lease.permit, now)
        else:
            lease.instance.failed_at = now if failed else float("-inf")
            lease.instance.breaker.record(
                lease.permit, now, failed=failed, seconds=now - lease.since
            )

    def wait_seconds(self) -> float:
        """How long every instance is surely left alone; 0 without instances."""
        now = self._monotonic()
        waits = [instance.breaker.wait_seconds(now) for instance in self._instances]
        return min(waits, default=0.0)
