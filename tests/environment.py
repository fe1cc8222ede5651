"""What the tests take from the environment, and platforms that they start do not."""

from __future__ import annotations

import os

_GIVEN = "TESTS_KAFKA_BROKERS"

# A platform that a test starts goes the way that the test says, not the one of the shell.
if brokers := os.environ.pop("KAFKA_BROKERS", ""):
    os.environ[_GIVEN] = brokers


def given_brokers() -> str:
    """The value of KAFKA_BROKERS: a broker for the tests of Kafka; empty: they start their own."""
    return os.environ.get(_GIVEN, "")
