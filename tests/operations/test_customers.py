"""Taking a person out of texts and JSON: what is theirs goes, every other byte stays."""

from __future__ import annotations

import pytest

from waybill.operations.customers.sweep import (
    Personal,
    leaves,
    swept_bytes,
    swept_json,
    swept_text,
)

ADA = Personal(
    frozenset({"ada.l@example.org", "Ada", "+44 20 7946 0001", "Büchnerweg 7", "DE", "Order"}),
    frozenset({"customerEmail"}),
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"customerEmail": "who@ever.test", "n": 1.50}', '{"customerEmail": "erased", "n": 1.50}'),
        ('{"to":"ADA.L@example.org","eventType":"Order"}', '{"to":"erased","eventType":"Order"}'),
        ('{"country":"DE","name":"Ada"}', '{"country":"DE","name":"Ada"}'),
        ('{"detail": "Ada declined", "id": "x"}', '{"detail": "erased declined", "id": "x"}'),
        (r'{"a":"B\u00fcchnerweg 7 \"left\""}', r'{"a":"erased \"left\""}'),
        ('{"Ada +44 20 7946 0001": 1}', '{"Ada +44 20 7946 0001": 1}'),
        ('{"cut short": "+44 20 7946 0001", "x', '{"cut short": "erased", "x'),
        ("", ""),
    ],
)
def test_only_what_is_theirs_is_replaced(before: str, after: str) -> None:
    """Short words count in sentences only: a customer named Order changes no event's type."""
    assert swept_json(before, ADA) == after
    assert swept_bytes(before.encode(), ADA) == after.encode()
    assert swept_json(after, ADA) == after, "it may be repeated"


def test_bytes_that_are_no_text_are_swept_as_well() -> None:
    """A poison message may hold an address, too."""
    assert swept_bytes(b'\xff{"x": "ada.l@example.org"}\xfe', ADA) == b'\xff{"x": "erased"}\xfe'


def test_a_sentence_loses_whatever_is_known_of_them() -> None:
    """The longest first; what is shorter than a word is left."""
    assert swept_text("Ada, ada.l@example.org, DE", ADA) == "erased, erased, DE"
    assert swept_text("untouched", Personal(frozenset())) == "untouched"


def test_every_text_of_a_value_is_found() -> None:
    """However deep it is."""
    assert [*leaves({"a": ["x", {"b": "y"}], "c": None, "d": 1})] == ["x", "y"]
