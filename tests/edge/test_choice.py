"""Where accounts, gateway and tokens are on: by the blueprint, or by one setting."""

from __future__ import annotations

import pytest

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.edge_choice import ACCOUNTS, GATEWAY, asks_for_tokens, edge_of, with_edge
from waybill.platform.settings import Settings

BOTH = {ACCOUNTS, GATEWAY}


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_checkout_has_its_platform_core_and_the_others_by_one_setting(name: str) -> None:
    """On for seed 002, one setting for the others, and one to turn it off."""
    blueprint = BLUEPRINTS[name]
    decided = {
        given: with_edge(Settings.load(edge=given), blueprint) for given in (None, True, False)
    }
    assert edge_of(decided[None]) == (BOTH if name == "checkout" else set())
    assert edge_of(decided[True]) == BOTH
    assert edge_of(decided[False]) == set()
    for settings in decided.values():
        assert with_edge(settings, blueprint) == settings
        assert asks_for_tokens(settings, blueprint) == bool(settings.accounts)


def test_another_issuer_takes_the_place_of_our_accounts() -> None:
    """And what is set by itself counts most."""
    checkout = BLUEPRINTS["checkout"]
    foreign = Settings.load(tokens_issuer="https://id.example")
    assert edge_of(with_edge(foreign, checkout)) == {GATEWAY}
    assert asks_for_tokens(foreign, checkout)
    ours = Settings.load(tokens_issuer="https://shop.example", accounts=True, gateway=False)
    assert edge_of(with_edge(ours, checkout)) == {ACCOUNTS}
    assert not asks_for_tokens(Settings.load(accounts=False), checkout)


def test_the_world_is_let_in_where_tokens_are_asked_for() -> None:
    """C43: also by the one setting; turned off, it is refused as without."""
    world = "0.0.0.0"  # noqa: S104 - what is asked about
    assert Settings.load(host=world, edge=True).edge
    for given in ({"edge": False}, {"edge": True, "accounts": False}):
        with pytest.raises(ConfigurationError, match="WAYBILL_EDGE"):
            Settings.load(host=world, **given)
