"""The instances of one process at their registry: registered, renewed, and gone before it stops.

A registry that is away costs nothing but that others learn less. One that forgot an instance is
told of it again at the next heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from waybill.edge.registry.entries import OUT_OF_SERVICE
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from waybill.edge.registry.documents import Document
    from waybill.edge.registry.eureka import EurekaClient
    from waybill.messaging.runtime.clock import Clock

logger = logging.getLogger(__name__)

Status = Callable[[], Awaitable[str]]
"""What the instance says of itself: UP, DOWN or OUT_OF_SERVICE."""
_DATA_CENTER: Final = {
    "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
    "name": "MyOwn",
}


@dataclass(frozen=True, kw_only=True)
class RegistrationSettings:
    """`host` is the address that others reach this process by.

    `drain_seconds` is how long a caller may go by what it knew before: one that drains serves for
    as long, after it said that it goes.
    """

    host: str
    heartbeat_seconds: float = 5.0
    lease_seconds: float = 15.0
    drain_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.lease_seconds <= self.heartbeat_seconds:
            raise ConfigurationError(
                "WAYBILL_REGISTRY_LEASE_SECONDS must exceed WAYBILL_REGISTRY_HEARTBEAT_SECONDS: "
                "else every instance is gone between two heartbeats"
            )


@dataclass
class _Instance:
    app: str
    port: int
    id: str
    status: Status
    told: str = ""
    """The status that the registry knows; empty: nothing."""
    dirty_at: int = 0
    telling: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """Else a heartbeat under way could say UP after the goodbye."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Registration:
    """`announce` each service that is served, `withdraw` before it stops, `close` at the end."""

    def __init__(
        self, client: EurekaClient, settings: RegistrationSettings, *, clock: Clock
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._instances: list[_Instance] = []
        self._withdrawn = False
        self._away = False

    async def announce(self, service: str, port: int, status: Status) -> None:
        """Register it now if the registry answers, and keep it registered."""
        instance_id = f"{self._settings.host}:{service}:{port}"
        instance = _Instance(service.upper(), port, instance_id, status)
        self._instances.append(instance)
        await self._beat(instance)
        instance.task = asyncio.create_task(self._keep(instance), name=f"registration {service}")

    async def withdraw(self) -> None:
        """Nobody is sent here any more when this returns. May be repeated."""
        if self._withdrawn:
            return
        self._withdrawn = True
        await asyncio.gather(*(self._beat(instance) for instance in self._instances))
        if any(instance.told == OUT_OF_SERVICE for instance in self._instances):
            await self._clock.sleep(self._settings.drain_seconds)

    async def close(self) -> None:
        """Take them out of the registry. May be repeated."""
        for instance in self._instances:
            if instance.task is not None:
                instance.task.cancel()
        await asyncio.gather(*(self._end(instance) for instance in self._instances))
        self._instances.clear()
        await self._client.close()

    async def _keep(self, instance: _Instance) -> None:
        while True:
            await self._clock.sleep(self._settings.heartbeat_seconds)
            try:
                await self._beat(instance)
            except Exception:
                logger.exception("A heartbeat failed")

    async def _beat(self, instance: _Instance) -> None:
        async with instance.telling:
            await self._tell(instance)

    async def _tell(self, instance: _Instance) -> None:
        status = OUT_OF_SERVICE if self._withdrawn else await instance.status()
        try:
            if status != instance.told or not await self._renewed(instance):
                await self._register(instance, status)
        except TransientError as error:
            if not self._away:
                logger.warning("not registered: %s", error)
            self._away = True
        else:
            if self._away:
                logger.info("registered again")
            self._away = False

    async def _renewed(self, instance: _Instance) -> bool:
        return await self._client.renew(
            instance.app, instance.id, status=instance.told, dirty_at=instance.dirty_at
        )

    async def _register(self, instance: _Instance, status: str) -> None:
        instance.dirty_at = int(self._clock.now().timestamp() * 1000)
        instance.told = ""
        await self._client.register(instance.app, self._document(instance, status))
        instance.told = status

    async def _end(self, instance: _Instance) -> None:
        try:
            await self._client.cancel(instance.app, instance.id)
        except TransientError as error:
            logger.warning("%s stays registered until its lease ends: %s", instance.id, error)

    def _document(self, instance: _Instance, status: str) -> Document:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url, name = f"http://{host}:{instance.port}", instance.app.lower()
        return {
            "instanceId": instance.id,
            "app": instance.app,
            "hostName": settings.host,
            "ipAddr": settings.host,
            "status": status,
            "overriddenStatus": "UNKNOWN",
            "port": {"$": instance.port, "@enabled": "true"},
            "securePort": {"$": 443, "@enabled": "false"},
            "countryId": 1,
            "dataCenterInfo": _DATA_CENTER,
            "leaseInfo": {
                "renewalIntervalInSecs": max(1, round(settings.heartbeat_seconds)),
                "durationInSecs": max(1, round(settings.lease_seconds)),
            },
            "metadata": {},
            "homePageUrl": f"{url}/",
            "statusPageUrl": f"{url}/actuator/info",
            "healthCheckUrl": f"{url}/actuator/health",
            "vipAddress": name,
            "secureVipAddress": name,
            "lastUpdatedTimestamp": str(instance.dirty_at),
            "lastDirtyTimestamp": str(instance.dirty_at),
        }
