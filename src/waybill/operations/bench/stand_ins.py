"""Who stands on this machine for the other side of a platform's outside calls, behind a gate.

Shutting the gate is the outage: connections are refused, and those there are are cut.
"""

from __future__ import annotations

import asyncio
import warnings
from email import message_from_bytes
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from waybill.blueprints.workload import MAIL_SERVER, NOTIFIED_SERVICE, PAYMENT_PROVIDER
from waybill.commerce.testing.gate import HOST, Gate
from waybill.commerce.testing.provider_server import ProviderServer
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.operations.audit.scope import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from aiosmtpd.smtp import SMTP, Envelope, Session

    from waybill.blueprints.workload import OutsideTarget

NOTIFICATION_PORT: Final = 4
"""Above the base: who is notified is the platform's own notification service."""
ANY_PORT: Final = 0


class StandIn:
    """One other side. `variables` are the prefixes of the settings that name it to a platform.

    `unused` are databases that nobody writes beside it.
    """

    variables: tuple[str, ...] = ()
    unused: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.gate = Gate()

    async def start(self, port_base: int) -> None:
        """Listen, for the platform that has these ports."""
        self.gate.behind = await self._listen(port_base)
        await self.gate.open()

    async def stop(self) -> None:
        """Listen no longer."""
        await self.gate.shut()

    def environment(self, around: Mapping[str, str]) -> dict[str, str]:
        """The variables of a platform that calls it and nobody else. It must have been started."""
        kept = {name: text for name, text in around.items() if not name.startswith(self.variables)}
        return kept | self._settings()

    def unlike(self, good: AbstractSet[str]) -> AbstractSet[str]:
        """Orders in one of the books alone: its own, or those that came to their good end."""
        raise NotImplementedError

    async def _listen(self, port_base: int) -> int:
        """Begin to listen; the port."""
        raise NotImplementedError

    def _settings(self) -> dict[str, str]:
        raise NotImplementedError


class StandInProvider(StandIn):
    """A payment provider over HTTP that captures everything, with books of its own."""

    variables = ("PAYMENT_PROVIDER", "PAYMENT_WEBHOOK_")
    unused = frozenset({PROVIDER})

    def __init__(self) -> None:
        super().__init__()
        self._server = ProviderServer(new_id=new_id)

    async def _listen(self, port_base: int) -> int:
        del port_base
        await self._server.start()
        return int(self._server.url.rpartition(":")[2])

    async def stop(self) -> None:
        """See StandIn."""
        await super().stop()
        await self._server.stop()

    def _settings(self) -> dict[str, str]:
        return {"PAYMENT_PROVIDER_URL": f"http://{HOST}:{self.gate.port}"}

    def unlike(self, good: AbstractSet[str]) -> AbstractSet[str]:
        """Whoever ended well has paid, and nobody else has."""
        charges, refunds = self._server.charges.items(), self._server.refunds
        paid = {key for key, each in charges if each.status == "captured" and key not in refunds}
        return paid ^ good


class StandInMailServer(StandIn):
    """A mail server that takes every mail and keeps which orders they were about."""

    variables = ("SMTP_", "FROM_EMAIL")

    def __init__(self) -> None:
        super().__init__()
        if find_spec("aiosmtpd") is None:
            raise ConfigurationError(
                "the mail server that stands in needs aiosmtpd: pip install 'waybill[bench]'"
            )
        self._server: asyncio.Server | None = None
        self._mailed: set[str] = set()

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Take a mail; its Message-ID begins with the order's id (P9)."""
        del server, session
        mail = message_from_bytes(bytes(envelope.content or b""))  # type: ignore[arg-type] # bytes, as decode_data is off
        self._mailed.add(str(mail["Message-ID"]).lstrip("<").partition(".")[0])
        return "250 OK"

    async def _listen(self, port_base: int) -> int:
        del port_base
        from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - an extra

        loop = asyncio.get_running_loop()

        def connected() -> SMTP:
            with warnings.catch_warnings(action="ignore"):  # it may do without TLS
                return SMTP(self, hostname=HOST, loop=loop)

        self._server = await loop.create_server(connected, HOST, ANY_PORT)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """See StandIn."""
        await super().stop()
        if self._server is not None:
            self._server.close()

    def _settings(self) -> dict[str, str]:
        port = str(self.gate.port)
        sender = {"FROM_EMAIL": "orders@shop.example"}
        return {"SMTP_HOST": HOST, "SMTP_PORT": port, "SMTP_TLS": "none", **sender}

    def unlike(self, good: AbstractSet[str]) -> AbstractSet[str]:
        """Whoever ended well has a mail."""
        return good - self._mailed


class StandInNotified(StandIn):
    """The way to the platform's own notification service, whose books the audit reads."""

    variables = ("NOTIFY_URL", "WAYBILL_NOTIFY_URL")

    async def _listen(self, port_base: int) -> int:
        return port_base + NOTIFICATION_PORT

    def _settings(self) -> dict[str, str]:
        return {"NOTIFY_URL": f"http://{HOST}:{self.gate.port}"}

    def unlike(self, good: AbstractSet[str]) -> AbstractSet[str]:
        """The audit has seen to that."""
        del good
        return frozenset()


STAND_INS: Final[Mapping[OutsideTarget, type[StandIn]]] = {
    PAYMENT_PROVIDER: StandInProvider,
    MAIL_SERVER: StandInMailServer,
    NOTIFIED_SERVICE: StandInNotified,
}


def stand_in_for(target: OutsideTarget) -> StandIn:
    """Who stands for it. Raises ConfigurationError if nobody can, or a package is missing."""
    try:
        return STAND_INS[target]()
    except KeyError:
        known = ", ".join(each.name for each in STAND_INS)
        raise ConfigurationError(
            f"nobody can stand for {target.name}, so its outage cannot be measured: choose one of "
            f"{known} (blueprints/workload.py), or --outage-seconds 0"
        ) from None
