"""A rebalance storm: instances of a service join and die all the time, and their work moves."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for

if TYPE_CHECKING:
    from tests.faults.site import Site

JOINED_SECONDS = 60.0
"""From a start to lanes and partitions of its own, on a machine that has much to do."""
MOVED_SECONDS = 25.0
"""After a SIGKILL: the group's session, the lanes' lease, and a look at either."""
LOOK_SECONDS = 0.1
READERS_SHARE = 2
"""Of so many that sent and died one had partitions: six are for those, too, that died just now."""

# The name of a relay's member ends with its process.
SENDERS = """
SELECT DISTINCT r.name FROM messaging.outbox_lane AS l
JOIN messaging.outbox_relay AS r ON r.token = l.token
"""
READERS = "SELECT DISTINCT token FROM messaging.consumer_partition"


@dataclass
class Shares:
    """Who has lanes and partitions of a service, as its database tells."""

    site: Site
    service: str
    seen: set[object] = field(default_factory=set)
    """Whoever has had a partition."""

    def senders(self) -> set[int]:
        """The processes that own lanes now."""
        names = self.site.rows(self.service, SENDERS)
        return {int(row["name"].rpartition(":")[2]) for row in names}

    def readers(self) -> set[object]:
        """The members that own partitions now."""
        found: set[object] = {row["token"] for row in self.site.rows(self.service, READERS)}
        self.seen |= found
        return found

    def has_work(self, process: PlatformProcess) -> bool:
        """Whether it sends, and others read than the one who was there before."""
        return len(self.readers()) > 1 and pid_of(process) in self.senders()

    def has_all(self, process: PlatformProcess) -> bool:
        """Whether nobody else has anything."""
        return len(self.readers()) == 1 and self.senders() == {pid_of(process)}


def storm(
    site: Site, service: str, *, changes: int, every_seconds: float, extras_max: int
) -> float:
    """An instance joins or dies every so often; each that dies had work, which others then do.

    At the end those that are left die, too, and the one that was there before has it all.
    """
    shares, extras = Shares(site, service), list[PlatformProcess]()
    before, killed = len(shares.readers()), 0
    try:
        for _ in range(changes):
            began = time.monotonic()
            if len(extras) < extras_max:
                port_base = free_port_base()
                extras.append(site.services[service].beside(service, port_base=port_base).launch())
            else:
                what = f"the oldest instance of {service} has lanes and partitions"
                wait_for(partial(shares.has_work, extras[0]), JOINED_SECONDS, what)
                extras.pop(0).kill_process()
                killed += 1
            while time.monotonic() < began + every_seconds:
                shares.readers()
                time.sleep(LOOK_SECONDS)
    finally:
        for each in extras:
            each.kill_process()
    healed = time.monotonic()
    what = f"one instance of {service} has everything again"
    wait_for(partial(shares.has_all, site.services[service]), MOVED_SECONDS, what)
    came = len(shares.seen) - before
    assert came >= max(1, killed // READERS_SHARE), f"{killed} were killed, {came} came to read"
    assert killed >= 1
    return healed


def pid_of(process: PlatformProcess) -> int:
    """By which the database knows it."""
    assert process.process is not None
    return process.process.pid
