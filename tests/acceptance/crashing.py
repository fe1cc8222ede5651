"""A platform whose crash points are armed while it runs, and customers who make it reach them."""

from __future__ import annotations

import contextlib
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx2
from tests.acceptance.database import rows, value
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.acceptance.stages import CHOREOGRAPHY
from tests.acceptance.test_poison import GARBAGE
from tests.acceptance.traffic import Traffic

from waybill.messaging.adapters.postgres.errors import DRIVER_ERRORS
from waybill.messaging.adapters.postgres.schema import LANE_LOCK_CLASS
from waybill.messaging.core.identity import new_id
from waybill.messaging.testing.crash_control import CrashControl, marks
from waybill.platform.embedded.processes import end_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from tests.acceptance.stages import Stage

RUNNER = "waybill.messaging.testing.crash_runner"
DEADLINE_SOON = {"WAYBILL_ORDER_DEADLINE_SECONDS": "2"}
"""Orders are overdue while a test waits, if nobody answers them."""
REACH_SECONDS = 30
"""Within which a busy platform comes to any point."""
REST_SECONDS = 1.6
"""Longer than a consumer at rest waits before it stores its positions alone."""
GONE = (ConnectionError, FileNotFoundError)
"""What a process says that was killed where that was asked for."""
GAP_SECONDS = 0.1
"""Of a customer between two orders: some 30 a second come to every point soon."""

# The lane's lock comes before the number (protocol O1).
SPOIL = f"""
WITH latest AS MATERIALIZED (
    SELECT * FROM messaging.outbox WHERE type = $3 AND payload <> $2 ORDER BY seq DESC LIMIT 1
), locked AS MATERIALIZED (
    SELECT pg_advisory_xact_lock({LANE_LOCK_CLASS}, lane) FROM latest
)
INSERT INTO messaging.outbox (
    seq, lane, id, aggregatetype, aggregateid, type, payload, version, aggregate_version, topic,
    correlation_id, causation_id, traceparent, producer, headers, occurred_at
)
SELECT nextval('messaging.outbox_seq'), lane, $1, aggregatetype, aggregateid, type, $2, version,
       NULL, topic, correlation_id, NULL, traceparent, producer, headers, clock_timestamp()
FROM locked CROSS JOIN latest RETURNING (SELECT payload FROM latest)
"""  # noqa: S608 - a constant
DISCARD = """
UPDATE messaging.dead_letters SET verdict = 'DISCARDED', verdict_by = 'a test',
       verdict_reason = 'garbage', verdict_at = clock_timestamp()
WHERE value = $1 AND verdict = 'OPEN'
"""
JUDGE = """
UPDATE messaging.dead_letters SET value = $2, verdict = $3, verdict_by = 'a test',
       verdict_reason = 'mended', verdict_at = clock_timestamp()
WHERE message_id = $1 AND verdict = 'OPEN' RETURNING true
"""


class ArmedPlatform(PlatformProcess):
    """`waybill up` through the crash runner; `crash` arms it.

    Its environment says which blueprint it is; `stage` is that one.
    """

    def __init__(
        self, data: Path, environment: dict[str, str], stage: Stage = CHOREOGRAPHY
    ) -> None:
        super().__init__(data, port_base=free_port_base(), environment=environment)
        self.stage = stage
        self.offsets = stage.offsets

    @property
    def crash(self) -> CrashControl:
        """Arms the process that runs now."""
        return CrashControl(self._beside("control"))

    @property
    def reached(self) -> list[tuple[int, str, str]]:
        """Process, action and point of everything that happened, in order."""
        return [(m["pid"], m["action"], m["point"]) for m in marks(self._beside("marks"))]

    def command(self, *arguments: str) -> list[str]:
        """See PlatformProcess; what serves is armed, and no other command."""
        python, _, *program = super().command(*arguments)
        if arguments != ("up",):
            return [python, "-m", *program]
        files = ["--control", str(self._beside("control")), "--marks", str(self._beside("marks"))]
        return [python, "-m", RUNNER, "--register", "waybill.commerce", *files, "--", *program]

    def killed(self) -> bool:
        """Whether it has died by SIGKILL."""
        assert self.process is not None
        return self.process.poll() == -signal.SIGKILL

    def end(self) -> None:
        """Kill whatever is left of it, PostgreSQL included."""
        if self.process is not None and self.process.poll() is None:
            self.kill_process()
        end_processes(self.data / "postgres" / "data", at_once=True)
        self.client.close()

    def _beside(self, name: str) -> Path:
        return self.data.parent / f"crash-{name}"


class Customers(Traffic):
    """Customers of whom some cancel, at a measured pace."""

    def __init__(self, platform: ArmedPlatform) -> None:
        super().__init__(platform, gap_seconds=GAP_SECONDS, stage=platform.stage)

    def _place(self, client: httpx2.Client, key: str) -> None:
        super()._place(client, key)
        order_id = self.accepted.get(key)
        if order_id is not None and key[0] in "0123":
            with contextlib.suppress(httpx2.TransportError):
                self._stage.cancel(self._platform.url(1), order_id, client)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While the block runs they rest for longer than they order."""
        over = threading.Event()

        def rest() -> None:
            while not over.is_set():
                self.pause()
                over.wait(REST_SECONDS)
                self.resume()
                over.wait(REST_SECONDS / 4)

        with ThreadPoolExecutor(1) as pool:
            resting = pool.submit(rest)
            try:
                yield
            finally:
                over.set()
            resting.result()


@contextmanager
def leading_to(point: str, platform: ArmedPlatform, customers: Customers) -> Iterator[None]:
    """While the block runs, what makes the platform come to a point that customers do not."""
    if point.startswith("positions."):  # now and then a moment without orders
        with customers.resting():
            yield
    elif point.startswith("redrive."):
        with contextlib.suppress(*DRIVER_ERRORS):  # the letter of another point came first
            mend_a_dead_letter(platform)
        yield
    elif point.endswith(("_query", "_claim")) and point.startswith("delivery."):
        with contextlib.suppress(*GONE):
            platform.crash.arm("fail", "delivery.after_call", match=platform.stage.called)
        yield
    elif point.startswith("deadline."):  # somebody stands still until orders are overdue
        slow = None
        with contextlib.suppress(*GONE):
            slow = platform.crash.arm("block", "consumer.before_claim", match=platform.stage.slow)
        yield
        with contextlib.suppress(*GONE):
            if slow is not None:
                slow.release()
    else:
        yield


def die_at(point: str, platform: ArmedPlatform, customers: Customers) -> None:
    """Arm a kill there, and wait for it; fails if this life of the platform never comes there."""
    assert platform.process is not None
    pid = platform.process.pid
    with contextlib.suppress(ConnectionResetError):  # it came there before it could answer
        platform.crash.arm("kill", point)
    with leading_to(point, platform, customers):
        wait_for(platform.killed, REACH_SECONDS, f"killed at {point}")
    assert platform.reached[-1] == (pid, "kill", point)


def pass_by(point: str, action: str, platform: ArmedPlatform, customers: Customers) -> None:
    """Arm, wait until it was reached, and let go what stands still; fails if it never is."""
    armed = platform.crash.arm(action, point)
    with leading_to(point, platform, customers):
        assert armed.reached(REACH_SECONDS), f"{action} at {point} was never reached"
    if action == "block":
        armed.release()


def mend_a_dead_letter(platform: ArmedPlatform) -> None:
    """Garbage becomes a dead letter of all who read it; an operator mends and redrives the last."""
    data, stage = platform.data, platform.stage
    message_id: UUID = new_id()
    (told,) = stage.blueprint.wire_names((stage.told,))
    spoil = partial(value, data, stage.teller.database, SPOIL, message_id, GARBAGE, told)
    payload = wait_for(spoil, 30, f"an order's {told}")
    for service in stage.listeners:
        verdict = "REDRIVE" if service == stage.listeners[-1] else "DISCARDED"
        judge = partial(value, data, service, JUDGE, message_id, payload, verdict)
        wait_for(judge, 30, f"a dead letter of {service}")


def discard_garbage(platform: ArmedPlatform) -> None:
    """What a kill kept the operator from mending."""
    for service in platform.stage.listeners:
        rows(platform.data, service, DISCARD, GARBAGE)
