"""Percentiles of known samples."""

from __future__ import annotations

import math
import statistics

import pytest

from waybill.operations.percentiles import Percentiles


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1), (25, 2), (50, 3), (90, 4.6), (99, 4.96), (100, 5)],
)
def test_between_two_samples_it_is_linear(percent: float, expected: float) -> None:
    """Of 1 to 5, in any order."""
    assert Percentiles([3, 1, 5, 4, 2]).at(percent) == pytest.approx(expected)


def test_they_agree_with_the_standard_library() -> None:
    """As `statistics.quantiles` has them, inclusive."""
    samples = [(n * 7919) % 1009 / 3 for n in range(1000)]
    expected = statistics.quantiles(samples, n=100, method="inclusive")
    found = Percentiles(samples)
    assert [found.at(percent) for percent in range(1, 100)] == pytest.approx(expected)
    assert found.milliseconds(50) == pytest.approx(expected[49] * 1000)


def test_one_sample_is_every_percentile_and_none_is_no_number() -> None:
    """The edges."""
    assert [Percentiles([0.5]).at(percent) for percent in (0, 50, 100)] == [0.5, 0.5, 0.5]
    assert math.isnan(Percentiles([]).at(50))
    assert len(Percentiles([])) == 0
