"""The brake closes the intake on what fills up, and on nothing else (protocol I5)."""

from __future__ import annotations

import pytest
from tests.messaging.ledger import CODEC

from waybill.messaging.core.errors import OutcomeUnknownError, OverloadedError, TransientError
from waybill.messaging.runtime.brake import Brake, Measure
from waybill.messaging.testing.memory_service import MemoryService


class Tank:
    """Something that fills up, and whose gauge may be away."""

    def __init__(self, limit: float = 10) -> None:
        self.level: float = 0
        self.away = False
        self.error: type[Exception] = TransientError
        self.looks = 0
        self.measure = Measure(what="the tank", setting="TANK_MAX", limit=limit, read=self.read)

    async def read(self) -> float:
        """Its level."""
        self.looks += 1
        if self.away:
            raise self.error("connection refused")
        return self.level


async def test_i5_it_closes_above_the_limit_and_opens_at_it() -> None:
    """Protocol I5, P10: it knows within a second, and recovery needs nobody's help."""
    service, tank = MemoryService(CODEC), Tank()
    brake = Brake("brake", [tank.measure], ports=service.ports)
    brake.check()
    async with service.running(brake):
        for level, is_open in ((10, True), (11, False), (1000, False), (10, True)):
            tank.level = level
            await service.clock.advance(1.0)
            if is_open:
                brake.check()
            else:
                with pytest.raises(OverloadedError, match="more than TANK_MAX=10") as refused:
                    brake.check()
                assert 1 <= refused.value.retry_after_seconds <= 3


async def test_i5_it_looks_about_once_a_second_whoever_asks() -> None:
    """Protocol I5: the cost does not grow with the requests."""
    service, tank = MemoryService(CODEC), Tank()
    brake = Brake("brake", [tank.measure], ports=service.ports)
    async with service.running(brake):
        await service.clock.settle()
        for _ in range(1000):
            brake.check()
        await service.clock.advance(9.5)
    assert tank.looks == 10


async def test_i5_a_look_that_takes_long_is_rarer() -> None:
    """Protocol I5, P10: counting a long backlog does not keep the database from working it off."""
    service, looks = MemoryService(CODEC), 0

    async def slow() -> float:
        nonlocal looks
        looks += 1
        await service.clock.sleep(0.6)
        return 0

    measure = Measure(what="a long backlog", setting="ROWS_MAX", limit=1, read=slow)
    async with service.running(Brake("brake", [measure], ports=service.ports)):
        await service.clock.advance(66.0)
    assert looks == 10


@pytest.mark.parametrize("error", [TransientError, OutcomeUnknownError])
async def test_i5_what_cannot_be_measured_leaves_it_as_it_was(error: type[Exception]) -> None:
    """Protocol I5: an outage by itself neither closes nor opens the intake."""
    service, tank = MemoryService(CODEC), Tank()
    tank.error = error
    brake = Brake("brake", [tank.measure], ports=service.ports)
    async with service.running(brake):
        tank.away = True
        await service.clock.advance(5.0)
        brake.check()
        tank.level, tank.away = 11, False
        await service.clock.advance(1.0)
        tank.away = True
        await service.clock.advance(5.0)
        with pytest.raises(OverloadedError):
            brake.check()
        assert brake.progress_age_seconds <= 1.0


async def test_i5_any_of_several_measures_closes_it() -> None:
    """Protocol I5: each is watched for itself."""
    service, tanks = MemoryService(CODEC), [Tank(), Tank(limit=0.9)]
    tanks[1].measure = Measure(what="the disk", setting="SHARE", limit=0.9, read=tanks[1].read)
    brake = Brake("brake", [tank.measure for tank in tanks], ports=service.ports)
    async with service.running(brake):
        tanks[0].level, tanks[1].level = 11, 0.95
        await service.clock.advance(1.0)
        tanks[0].level = 0
        await service.clock.advance(1.0)
        with pytest.raises(OverloadedError, match="the disk"):
            brake.check()
        tanks[1].level = 0.9
        await service.clock.advance(1.0)
        brake.check()
