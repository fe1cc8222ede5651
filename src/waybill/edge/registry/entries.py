"""One instance in the registry: what it said of itself, and what the registry knows besides.

Pure: times are milliseconds since 1970, as Eureka counts them, and come as arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from waybill.edge.registry.documents import Document, MalformedDocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

UP, DOWN, STARTING, OUT_OF_SERVICE, UNKNOWN = STATUSES = (
    "UP",
    "DOWN",
    "STARTING",
    "OUT_OF_SERVICE",
    "UNKNOWN",
)
ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

LEASE_SECONDS_DEFAULT: Final = 90
LEASE_SECONDS_MAX: Final = 3_600
NAME_CHARACTERS_MAX: Final = 256
_DATA_CENTER: Final = {
    "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
    "name": "MyOwn",
}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance says when it registers."""

    app: str
    id: str
    status: str
    lease_seconds: int
    dirty_at: int
    document: dict[str, Any]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, or (`action` DELETED) the news that it is gone."""

    app: str
    id: str
    status: str
    override: str = UNKNOWN
    lease_seconds: int
    registered_at: int
    renewed_at: int
    changed_at: int
    dirty_at: int
    up_at: int = 0
    gone_at: int = 0
    action: str = ADDED
    document: dict[str, Any]

    @property
    def shown_status(self) -> str:
        """DOWN and STARTING are the instance's own to say; else an operator's word wins."""
        if self.status in {DOWN, STARTING} or self.override == UNKNOWN:
            return self.status
        return self.override

    def expired(self, now: int, *, counted_from: int) -> bool:
        """Whether it has not renewed for its lease, of the time that it could have renewed in."""
        return now - max(self.renewed_at, counted_from) > self.lease_seconds * 1000


def given_by(document: Document, app: str) -> Given:
    """What the body of a registration under this name says. Raises MalformedDocumentError."""
    instance = document.get("instance")
    if not isinstance(instance, dict):
        raise MalformedDocumentError("the body has no `instance`")
    name = _name(instance, "app")
    if name.upper() != app.upper():
        raise MalformedDocumentError("`app` is not the application of the address")
    host = _name(instance, "hostName")
    status = str(instance.get("status") or UP).upper()
    if status not in STATUSES:
        raise MalformedDocumentError(f"`status` is none of {', '.join(STATUSES)}")
    lease = instance.get("leaseInfo")
    lease_seconds = _number(lease.get("durationInSecs") if isinstance(lease, dict) else None)
    return Given(
        app=name.upper(),
        id=_name(instance, "instanceId", default=host),
        status=status,
        lease_seconds=min(lease_seconds or LEASE_SECONDS_DEFAULT, LEASE_SECONDS_MAX),
        dirty_at=_number(instance.get("lastDirtyTimestamp")),
        document=instance,
    )


def registered(before: Entry | None, given: Given, now: int) -> Entry:
    """The entry after a registration; one that is older than what is known only renews it."""
    known = before is not None and before.action != DELETED
    dirty_at = given.dirty_at or now
    if before is not None and known and before.dirty_at > dirty_at:
        return replace(before, renewed_at=now, lease_seconds=given.lease_seconds)
    up_at = before.up_at if before is not None and known else 0
    return Entry(
        app=given.app,
        id=given.id,
        status=given.status,
        override=before.override if before is not None and known else UNKNOWN,
        lease_seconds=given.lease_seconds,
        registered_at=now,
        renewed_at=now,
        changed_at=now,
        dirty_at=dirty_at,
        up_at=up_at or (now if given.status == UP else 0),
        document=given.document,
    )


def overridden(entry: Entry, status: str, now: int) -> Entry:
    """With an operator's word; UNKNOWN takes it back."""
    return replace(entry, override=status, changed_at=now, renewed_at=now, action=MODIFIED)


def gone(entry: Entry, now: int) -> Entry:
    """The news that it is gone."""
    return replace(entry, action=DELETED, changed_at=now, gone_at=now)


def hash_of(entries: Iterable[Entry]) -> str:
    """How many have which status: by it a client knows that it has seen every change."""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.shown_status] = counts.get(entry.shown_status, 0) + 1
    return "".join(f"{status}_{count}_" for status, count in sorted(counts.items()))


def shown(entry: Entry) -> Document:
    """What everybody sees of it."""
    lease = entry.document.get("leaseInfo")
    return {
        "countryId": 1,
        "dataCenterInfo": _DATA_CENTER,
        "metadata": {},
        **entry.document,
        "instanceId": entry.id,
        "app": entry.app,
        "status": entry.shown_status,
        "overriddenStatus": entry.override,
        "overriddenstatus": entry.override,  # as it is called in XML
        "isCoordinatingDiscoveryServer": "false",
        "leaseInfo": {
            "renewalIntervalInSecs": 30,
            **(lease if isinstance(lease, dict) else {}),
            "durationInSecs": entry.lease_seconds,
            "registrationTimestamp": entry.registered_at,
            "lastRenewalTimestamp": entry.renewed_at,
            "evictionTimestamp": entry.gone_at,
            "serviceUpTimestamp": entry.up_at,
        },
        "lastUpdatedTimestamp": str(entry.changed_at),
        "lastDirtyTimestamp": str(entry.dirty_at),
        "actionType": entry.action,
    }


def _name(instance: Document, member: str, default: str = "") -> str:
    found = instance.get(member) or default
    if not isinstance(found, str) or not 0 < len(found) <= NAME_CHARACTERS_MAX:
        raise MalformedDocumentError(f"`{member}` is missing or too long")
    return found


def _number(value: object) -> int:
    """0 for what is none; Eureka writes numbers as texts, too."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0  # noqa: PLR2004 - milliseconds have 13 digits
