"""All faults, in the order in which a message meets what they break."""

from __future__ import annotations

from mutants import auditing, commerce, consuming, delivering, relaying, storing

MUTANTS = (
    *commerce.INTAKE,
    *storing.OUTBOX,
    *storing.READING,
    *relaying.MUTANTS,
    *consuming.MUTANTS,
    *commerce.DECISIONS,
    *delivering.MUTANTS,
    *storing.RETENTION,
    *auditing.MUTANTS,
)
