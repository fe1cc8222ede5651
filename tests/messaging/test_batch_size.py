"""The size of batches follows the work a message makes, not the round trips around it."""

from __future__ import annotations

from random import Random

import pytest

from waybill.messaging.runtime.batch_size import FAILING_SIZE_MIN, BatchSizer
from waybill.messaging.runtime.policy import ConsumerPolicy


def settled_size(fixed: float, each: float, *, noise: tuple[float, ...] = (1.0,)) -> int:
    """The size after a backlog of full batches of these costs."""
    sizer = BatchSizer(500, 0.02)
    for turn in range(200):
        messages = sizer.size
        sizer.observe(messages, (fixed + each * messages) * noise[turn % len(noise)])
    return sizer.size


def test_cheap_messages_fill_the_largest_batch() -> None:
    """20 µs a message: 500 take 10 ms."""
    assert settled_size(0.002, 0.00002) == 500


def test_expensive_messages_make_small_batches() -> None:
    """1 ms a message: about 20 of them are 20 ms of work."""
    assert 10 <= settled_size(0.002, 0.001) <= 40


@pytest.mark.parametrize("noise", [(1.0,), (1.0, 1.3, 0.8, 1.1)])
def test_a_slow_disk_does_not_shrink_the_batches(noise: tuple[float, ...]) -> None:
    """A commit of 60 ms is paid once a batch: smaller ones would only pay it more often."""
    assert settled_size(0.06, 0.00001, noise=noise) >= 125


def test_a_busy_event_loop_does_not_shrink_the_batches() -> None:
    """Round trips of 0.1 to 0.4 s, however uneven, are no work of a message's."""
    random = Random(1)  # noqa: S311 - a repeatable test
    sizer = BatchSizer(500, 0.02)
    sizes = []
    for _ in range(2000):
        sizer.observe(sizer.size, random.uniform(0.1, 0.4) + 0.00003 * sizer.size)
        sizes.append(sizer.size)
    assert sum(sizes) / len(sizes) >= 300
    assert sorted(sizes)[len(sizes) // 10] >= 125


@pytest.mark.parametrize("each", [0.005, 0.05])
def test_expensive_messages_show_through_an_uneven_event_loop(each: float) -> None:
    """5 or 50 ms a message: the batches stay far below the largest."""
    random = Random(1)  # noqa: S311 - a repeatable test
    sizer = BatchSizer(500, 0.02)
    sizes = []
    for _ in range(2000):
        sizer.observe(sizer.size, random.uniform(0.005, 0.02) + each * sizer.size)
        sizes.append(sizer.size)
    assert sum(sizes[100:]) / len(sizes[100:]) <= 20


def test_small_batches_of_a_quiet_topic_say_nothing_against_large_ones() -> None:
    """One message a batch, 5 ms each for the round trips: a backlog is still read in large ones."""
    sizer = BatchSizer(500, 0.02)
    for _ in range(1000):
        sizer.observe(1, 0.005)
    assert sizer.size == 500


def test_it_recovers_from_a_moment_of_trouble() -> None:
    """After a stall that made messages look expensive, the size comes back by itself."""
    sizer = BatchSizer(500, 0.02)
    sizer.observe(500, 5.0)
    sizer.observe(250, 0.01)
    for _ in range(100):
        sizer.observe(sizer.size, 0.002 + 0.00002 * sizer.size)
    assert sizer.size == 500


def size_with_poison(one_in: int) -> int:
    """The size after many batches of messages of which every so manieth cannot be applied."""
    sizer, left = BatchSizer(500, 0.02), one_in
    for _ in range(400):
        messages = sizer.size
        left -= messages
        if left <= 0:
            left += one_in
            sizer.failed(messages)
        else:
            sizer.observe(messages, 0.002 + 0.00002 * messages)
    return sizer.size


def test_batches_are_so_small_that_few_have_a_message_that_cannot_be_applied() -> None:
    """One in 800: a batch in four has one. Rare ones change nothing."""
    assert 150 <= size_with_poison(800) <= 300
    assert size_with_poison(20_000) == 500


def test_c10_batches_stay_large_enough_to_show_a_bad_deployment() -> None:
    """C10: many failures of one class must stand in one batch to be seen."""
    assert size_with_poison(10) == FAILING_SIZE_MIN
    policy = ConsumerPolicy()
    assert FAILING_SIZE_MIN * policy.same_error_share_max >= policy.same_error_count_min


def test_batches_grow_again_when_nothing_fails_any_more() -> None:
    """What failed once is forgotten by what went well since."""
    sizer = BatchSizer(500, 0.02)
    sizer.failed(500)
    assert sizer.size == 125
    for _ in range(40):
        sizer.observe(sizer.size, 0.002 + 0.00002 * sizer.size)
    assert sizer.size == 500
