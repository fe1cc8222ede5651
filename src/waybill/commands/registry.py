"""`waybill registry`: which instances of which service there are, by whatever finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waybill.commands.options import AsJson, Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import show
from waybill.commands.place import run, settings_of
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from datetime import datetime

    from waybill.platform.settings import Settings

Row = dict[str, object]
COLUMNS = ("service", "address", "status", "lease_seconds", "renewed_seconds_ago", "instance")


def registry(data: Data = None, port_base: PortBase = None, *, as_json: AsJson = False) -> None:
    """List the instances of every service, as the registry (or list, or DNS) has them.

    Example: waybill registry
    """
    run(_list(settings_of(data, port_base), as_json=as_json))


async def _list(settings: Settings, *, as_json: bool) -> None:
    rows = await (_found if settings.discovery in {"static", "dns"} else _registered)(settings)
    show(rows, as_json=as_json, columns=COLUMNS, none="no instances")


async def _registered(settings: Settings) -> list[Row]:
    from waybill.messaging.runtime.clock import SystemClock  # noqa: PLC0415 - fast help
    from waybill.platform.discovery import eureka_client, registry_urls  # noqa: PLC0415 - fast help

    if not registry_urls(settings):
        settings = settings.model_copy(update={"registry": True})  # ours, if one runs here
    client = eureka_client(settings)
    try:
        instances = await client.instances()
    except TransientError as error:
        raise ConfigurationError(
            f"{error} ({', '.join(registry_urls(settings))}): start one with WAYBILL_REGISTRY=true "
            "or `waybill serve registry`, or name it by WAYBILL_REGISTRY_URLS"
        ) from error
    finally:
        await client.close()
    now = SystemClock().now()
    return sorted((_row(each, now) for each in instances), key=lambda row: str(row["instance"]))


def _row(instance: dict[str, Any], now: datetime) -> Row:
    from waybill.edge.registry.eureka import address_of  # noqa: PLC0415 - fast help

    lease = instance.get("leaseInfo")
    lease = lease if isinstance(lease, dict) else {}
    renewed = str(lease.get("lastRenewalTimestamp", ""))
    ago = round(now.timestamp() - int(renewed) / 1000, 1) if renewed.isdigit() else None
    return {
        "service": str(instance.get("app", "")).lower(),
        "address": address_of(instance) or None,
        "status": instance.get("status"),
        "lease_seconds": lease.get("durationInSecs"),
        "renewed_seconds_ago": ago,
        "instance": instance.get("instanceId"),
    }


async def _found(settings: Settings) -> list[Row]:
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - fast help
    from waybill.platform.discovery import discovery_of  # noqa: PLC0415 - fast help
    from waybill.platform.services import plans_of  # noqa: PLC0415 - fast help

    plans = plans_of(chosen(settings)).values()
    ports = {plan.name: settings.port_base + plan.port_offset for plan in plans}
    discovery = discovery_of(settings, ports)
    try:
        found = await discovery.find(tuple(ports))
    finally:
        await discovery.close()
    return [{"service": service, "address": url} for service, urls in found.items() for url in urls]
