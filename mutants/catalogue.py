"""All faults, in the order in which a message meets what they break."""

from __future__ import annotations

from mutants import auditing, commerce, consuming, delivering, kafka, relaying, storing

MUTANTS = (
    *commerce.INTAKE,
    *storing.OUTBOX,
    *storing.READING,
    *relaying.MUTANTS,
    *kafka.MUTANTS,
    *consuming.MUTANTS,
    *commerce.DECISIONS,
    *delivering.MUTANTS,
    *storing.RETENTION,
    *auditing.MUTANTS,
)
