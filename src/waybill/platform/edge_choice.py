"""Whether accounts and gateway run and tokens are asked for, where the settings do not say.

Seed 002 has them as its platform core, so `checkout` has them unless it is told not to; every
other blueprint has them by one setting (WAYBILL_EDGE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint
    from waybill.platform.settings import Settings


ACCOUNTS: Final = "accounts"
GATEWAY: Final = "gateway"
ACCOUNTS_SERVICE: Final = "accounts-service"
EDGE: Final = (ACCOUNTS, GATEWAY)
"""What stands beside the services of a blueprint, by the names on the command line."""


def with_edge(settings: Settings, blueprint: Blueprint) -> Settings:
    """The same settings with everything about the edge decided. May be repeated.

    Another issuer takes the place of our accounts; what is set by itself counts most.
    """
    edge = blueprint.edge if settings.edge is None else settings.edge
    accounts = edge and not settings.tokens_issuer
    return settings.model_copy(
        update={
            "edge": edge,
            "accounts": accounts if settings.accounts is None else settings.accounts,
            "gateway": edge if settings.gateway is None else settings.gateway,
        }
    )


def edge_of(settings: Settings) -> frozenset[str]:
    """Which of them run, once everything is decided."""
    wanted = ((ACCOUNTS, settings.accounts), (GATEWAY, settings.gateway))
    return frozenset(name for name, runs in wanted if runs)


def asks_for_tokens(settings: Settings, blueprint: Blueprint) -> bool:
    """Whether services ask who calls."""
    return bool(settings.tokens_issuer or with_edge(settings, blueprint).accounts)
