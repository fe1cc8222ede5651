"""Health: alive, and ready. Alive asks nobody; ready asks what the composition names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec

logger = logging.getLogger(__name__)

Status = Literal["UP", "DOWN", "OUT_OF_SERVICE"]
CHECK_SECONDS_MAX = 2.0


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was checked. `details` is for operators: no secrets, no addresses."""

    status: Status
    details: dict[str, str] = {}


class HealthReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What /actuator/health and its groups answer; `components` by name."""

    status: Status
    components: dict[str, Component] = {}
    groups: tuple[str, ...] = ()

    @property
    def http_status(self) -> int:
        """200, or 503 for whatever is not UP."""
        return 200 if self.status == "UP" else 503


Check = Callable[[], Awaitable[Component]]
"""Looks at one thing. Raising means DOWN; so does taking longer than CHECK_SECONDS_MAX."""

_UP = Component("UP")


class Health:
    """Reports of one process. Set `draining` when it stops taking work."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self.draining = False

    def liveness(self) -> HealthReport:
        """The event loop answers: that is all. A dead database must not restart a live process."""
        return HealthReport("UP", {"livenessState": _UP})

    async def readiness(self) -> HealthReport:
        """DOWN if any check is; OUT_OF_SERVICE while draining."""
        names = list(self._checks)
        found = await asyncio.gather(*(self._look(name) for name in names))
        state = Component("OUT_OF_SERVICE") if self.draining else _UP
        components = {"readinessState": state, **dict(zip(names, found, strict=True))}
        return HealthReport(_worst(components), components)

    async def overall(self) -> HealthReport:
        """Everything, with the names of the groups."""
        ready = await self.readiness()
        components = {"livenessState": _UP, **ready.components}
        return HealthReport(ready.status, components, ("liveness", "readiness"))

    async def _look(self, name: str) -> Component:
        try:
            async with asyncio.timeout(CHECK_SECONDS_MAX):
                return await self._checks[name]()
        except TimeoutError:
            return Component("DOWN", {"error": f"no answer within {CHECK_SECONDS_MAX:g} s"})
        except Exception as error:  # noqa: BLE001 - a check that raises has found something
            logger.warning("Health check %s: %s", name, error)
            return Component("DOWN", {"error": type(error).__name__})


def _worst(components: Mapping[str, Component]) -> Status:
    statuses = {component.status for component in components.values()}
    if "DOWN" in statuses:
        return "DOWN"
    return "OUT_OF_SERVICE" if "OUT_OF_SERVICE" in statuses else "UP"
