"""Accounts and gateway in processes of their own, with a database on a server of the user's."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acceptance.database import rows_at
from tests.acceptance.processes import PlatformProcess, free_port_base, wait_for
from tests.acceptance.signing_in import log_in, register
from tests.acceptance.test_own_databases import environment_of, waybill

from waybill.platform.embedded import EmbeddedPostgres
from waybill.platform.own_databases import password_variable, roles_of, url_variable

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.acceptance
ACCOUNTS = 6


def test_accounts_and_gateway_run_by_themselves(data_directory: Path) -> None:
    """Provisioned by one command, each process with its own secrets and no other's."""
    nowhere, base = data_directory / "nowhere", free_port_base()
    with EmbeddedPostgres(data_directory / "theirs") as server, ExitStack() as stack:
        everything = environment_of(server, "accounts") | {"WAYBILL_EDGE": "true"}
        made = waybill(everything, "provision", "accounts")
        assert made.returncode == 0, made.stderr
        owner, service, *_ = roles_of("accounts")
        names = [url_variable("accounts"), *map(password_variable, (owner, service))]
        least = {name: everything[name] for name in (*names, "WAYBILL_EDGE")}

        def started(name: str, environment: dict[str, str], offset: int) -> PlatformProcess:
            process = PlatformProcess(
                nowhere, port_base=base, environment=environment, service=name
            )
            stack.enter_context(closing(process.launch()))

            def ready() -> bool:
                try:
                    return process.client.get(f"{process.url(offset)}/readyz").is_success
                except httpx2.TransportError:
                    return False

            try:
                wait_for(ready, 60, f"{name} is ready")
            except pytest.fail.Exception:
                print(process.tail())  # noqa: T201 - pytest shows it
                raise
            return process

        started("accounts", least, ACCOUNTS)
        gateway = started("gateway", {"WAYBILL_EDGE": "true"}, 0)
        account_id = register(gateway, "ada@example.org")
        token = log_in(gateway, "ada@example.org")
        shown = gateway.client.get(f"{gateway.url(0)}/api/v1/auth/me", headers=token)
        assert shown.json()["id"] == account_id
        # No order service runs here: whoever has a token is told so, and nobody else is.
        orders = f"{gateway.url(0)}/api/orders"
        assert gateway.client.get(orders, headers=token).status_code == 503
        assert gateway.client.get(orders).status_code == 401
        listed = waybill(everything, "accounts", "list")
        assert "ada@example.org" in listed.stdout, listed.stderr
        # The schema `private` is the accounts service's alone: no auditor and no reader sees it.
        granted = rows_at(
            server.url("accountsdb"),
            "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) "
            "AND has_schema_privilege(rolname, 'private', 'USAGE') ORDER BY rolname",
            list(roles_of("accounts")),
        )
        assert [row["rolname"] for row in granted] == [owner, service]
        assert not nowhere.exists()
