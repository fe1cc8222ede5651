"""The breaker against a naive model that keeps every call and counts it again each time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waybill.messaging.core.breaker import Breaker, BreakerPolicy, BreakerState, Permit, Window


def never_shortened() -> float:
    """Randomness that leaves the open time whole."""
    return 0.0


@dataclass
class NaiveBreaker:
    """Resilience4j's rules, read off promises.md (Overload 1), in the dumbest way."""

    policy: BreakerPolicy
    state: str = "closed"
    since: float = 0.0
    episode: int = 0
    handed_out: int = 0
    calls: list[tuple[float, bool, bool]] = field(default_factory=list)

    def enter(self, state: str, now: float) -> None:
        self.state, self.since, self.handed_out, self.calls = state, now, 0, []
        self.episode += 1

    def tick(self, now: float) -> None:
        longest = self.policy.half_open_seconds_max
        if self.state == "half_open" and longest and now - self.since >= longest:
            self.enter("open", self.since + longest)

    def permit(self, now: float) -> int | None:
        self.tick(now)
        if self.state == "open" and now >= self.since + self.policy.open_seconds:
            self.enter("half_open", now)
        if self.state == "open":
            return None
        if self.state == "half_open":
            if self.handed_out == self.policy.half_open_calls:
                return None
            self.handed_out += 1
        return self.episode

    def release(self, episode: int, now: float) -> None:
        self.tick(now)
        if episode == self.episode and self.state == "half_open":
            self.handed_out -= 1

    def record(self, episode: int, now: float, *, failed: bool, seconds: float) -> None:
        self.tick(now)
        if episode != self.episode:
            return
        self.calls.append((now, failed, seconds > self.policy.slow_seconds))
        if self.state == "half_open":
            if len(self.calls) == self.policy.half_open_calls:
                self.enter("open" if self.bad(self.calls) else "closed", now)
            return
        if self.policy.window is Window.COUNT:
            seen = self.calls[-self.policy.window_size :]
            needed = min(self.policy.calls_min, self.policy.window_size)
        else:
            first = now // 1 - self.policy.window_size
            seen = [call for call in self.calls if call[0] // 1 > first]
            needed = self.policy.calls_min
        if len(seen) >= needed and self.bad(seen):
            self.enter("open", now)

    def bad(self, calls: list[tuple[float, bool, bool]]) -> bool:
        failed = sum(call[1] for call in calls) / len(calls)
        slow = sum(call[2] for call in calls) / len(calls)
        return failed >= self.policy.failure_rate or slow >= self.policy.slow_rate


POLICIES = st.builds(
    BreakerPolicy,
    window=st.sampled_from(Window),
    window_size=st.integers(1, 8),
    calls_min=st.integers(1, 10),
    failure_rate=st.sampled_from([0.2, 0.5, 1.0]),
    slow_rate=st.sampled_from([0.3, 0.8, 1.0]),
    slow_seconds=st.just(2.0),
    open_seconds=st.sampled_from([0.0, 1.0, 5.0]),
    half_open_calls=st.integers(1, 4),
    half_open_seconds_max=st.sampled_from([0.0, 3.0, 10.0]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "end", "end", "end", "release"]),
        st.sampled_from([0.0, 0.0, 0.25, 1.0, 4.0]),
        st.integers(0, 5),
        st.booleans(),
        st.sampled_from([0.1, 2.0, 2.5]),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(policy=POLICIES, steps=STEPS)
def test_breaker_agrees_with_a_naive_model(
    policy: BreakerPolicy, steps: list[tuple[str, float, int, bool, float]]
) -> None:
    """Whatever happens in whatever order, it permits and rejects as Resilience4j's rules say."""
    breaker, model, now = Breaker(policy, never_shortened), NaiveBreaker(policy), 0.0
    open_calls: list[tuple[Permit, int]] = []
    for act, pause, place, failed, seconds in steps:
        now += pause
        if act == "ask":
            permit, expected = breaker.permit(now), model.permit(now)
            assert (permit is None) == (expected is None)
            if permit is not None and expected is not None:
                open_calls.append((permit, expected))
        elif open_calls:
            permit, episode = open_calls.pop(place % len(open_calls))
            if act == "end":
                breaker.record(permit, now, failed=failed, seconds=seconds)
                model.record(episode, now, failed=failed, seconds=seconds)
            else:
                breaker.release(permit, now)
                model.release(episode, now)
        model.tick(now)
        assert breaker.state(now).value == model.state


def call(breaker: Breaker, now: float, *, failed: bool, seconds: float = 0.1) -> None:
    """One permitted call with its result."""
    permit = breaker.permit(now)
    assert permit is not None
    breaker.record(permit, now, failed=failed, seconds=seconds)


def opened(policy: BreakerPolicy, now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(policy, never_shortened)
    for _ in range(policy.calls_min):
        call(breaker, now, failed=True)
    assert breaker.state(now) is BreakerState.OPEN
    return breaker


def test_below_the_minimum_of_calls_the_rate_is_not_looked_at() -> None:
    """Nine failures of nine leave it closed, the tenth opens it."""
    breaker = Breaker(BreakerPolicy(), never_shortened)
    for _ in range(9):
        call(breaker, 0.0, failed=True)
    assert breaker.state(0.0) is BreakerState.CLOSED
    call(breaker, 0.0, failed=True)
    assert breaker.state(0.0) is BreakerState.OPEN


def test_it_opens_at_the_threshold_and_not_only_above_it() -> None:
    """Five failures of ten are 50 %: open."""
    breaker = Breaker(BreakerPolicy(), never_shortened)
    for number in range(10):
        call(breaker, 0.0, failed=number % 2 == 1)
    assert breaker.state(0.0) is BreakerState.OPEN


def test_slow_means_longer_than_the_threshold() -> None:
    """Calls of exactly the threshold are not slow; successful ones above it open the breaker."""
    breaker = Breaker(BreakerPolicy(), never_shortened)
    for _ in range(20):
        call(breaker, 0.0, failed=False, seconds=2.0)
    assert breaker.state(0.0) is BreakerState.CLOSED
    for _ in range(16):
        call(breaker, 0.0, failed=False, seconds=2.001)
    assert breaker.state(0.0) is BreakerState.OPEN


def test_half_open_permits_so_many_calls_and_decides_when_all_ended() -> None:
    """The fourth of three is rejected; two good and one bad are below 50 %: closed."""
    breaker = opened(BreakerPolicy())
    assert breaker.permit(4.99) is None
    permits = [breaker.permit(5.0) for _ in range(4)]
    assert permits[3] is None
    for permit, failed in zip(permits[:3], [True, False, False], strict=True):
        assert breaker.state(5.0) is BreakerState.HALF_OPEN
        assert permit is not None
        breaker.record(permit, 5.0, failed=failed, seconds=0.1)
    assert breaker.state(5.0) is BreakerState.CLOSED


def test_a_lost_permit_does_not_stick_half_open() -> None:
    """After the longest wait it opens again, and the late result says nothing any more."""
    breaker = opened(BreakerPolicy())
    lost = breaker.permit(5.0)
    assert lost is not None
    assert breaker.state(14.9) is BreakerState.HALF_OPEN
    assert breaker.state(15.0) is BreakerState.OPEN
    assert breaker.permit(15.0) is None
    breaker.record(lost, 15.0, failed=False, seconds=0.1)
    assert breaker.state(15.0) is BreakerState.OPEN


def test_a_released_permit_counts_neither_way() -> None:
    """An ignored result in half-open frees its place for another call."""
    breaker = opened(BreakerPolicy(half_open_calls=1))
    permit = breaker.permit(5.0)
    assert permit is not None
    assert breaker.permit(5.0) is None
    breaker.release(permit, 5.0)
    assert breaker.permit(5.0) is not None


def test_jitter_shortens_the_open_time_by_half_at_most() -> None:
    """Two processes do not probe at the same instant, and none of them at once."""
    breaker = Breaker(BreakerPolicy(), lambda: 0.999999)
    for _ in range(10):
        call(breaker, 0.0, failed=True)
    assert breaker.permit(2.4) is None
    assert 2.4 < breaker.wait_seconds(0.0) < 2.6
    assert breaker.permit(2.6) is not None


@pytest.mark.parametrize(
    "wrong", [{"window_size": 0}, {"failure_rate": 0}, {"slow_rate": 1.1}, {"open_jitter": 2}]
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """Settings are checked when they are made, not when a provider fails."""
    with pytest.raises(ValueError, match=r"at least 1|share"):
        BreakerPolicy(**wrong)  # type: ignore[arg-type] # on purpose


def test_an_operator_disables_and_forces_open() -> None:
    """Resilience4j's DISABLED and FORCED_OPEN: results change neither, until a reset."""
    breaker = Breaker(BreakerPolicy(calls_min=1, window_size=1), never_shortened)
    breaker.force(BreakerState.DISABLED, 0.0)
    for now in range(5):
        permit = breaker.permit(float(now))
        assert permit is not None
        breaker.record(permit, float(now), failed=True, seconds=0.1)
    assert breaker.state(5.0) is BreakerState.DISABLED
    breaker.force(BreakerState.FORCED_OPEN, 5.0)
    assert breaker.permit(10_000.0) is None
    assert breaker.wait_seconds(10_000.0) > 0
    breaker.reset(10_000.0)
    assert breaker.state(10_000.0) is BreakerState.CLOSED
    assert breaker.permit(10_000.0) is not None
    with pytest.raises(ValueError, match="follows from calls"):
        breaker.force(BreakerState.OPEN, 10_001.0)
