"""The gateway's small parts: buckets, addresses, instances, settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.edge.issuer import Time

from waybill.edge.address import client_address, networks
from waybill.edge.gateway.routes import Route, RouteSet
from waybill.edge.gateway.settings import GatewaySettings
from waybill.edge.gateway.upstreams import Upstream
from waybill.edge.limits.memory import MemoryAttempts, MemoryBuckets
from waybill.edge.limits.ports import AttemptLimit, Quota
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.edge_settings import accounts_proxies, gateway_settings, token_settings
from waybill.platform.settings import Settings

PROXIES = networks(["10.0.0.0/8", "fd00::/8"])


@given(st.lists(st.floats(0, 30, allow_nan=False), max_size=60))
async def test_a_bucket_never_gives_more_than_its_quota(pauses: list[float]) -> None:
    """At most `count` at once and `count` more a window; who waits as told is let in."""
    time = Time()
    buckets = MemoryBuckets(Quota("q", 5, 60), monotonic=time.monotonic)
    begin, given_out = time.monotonic(), 0
    for pause in pauses:
        time.forward(pause)
        taken = await buckets.take("me")
        given_out += taken.wait_seconds == 0
        assert 0 <= taken.remaining <= 5
        assert given_out <= 5 + (time.monotonic() - begin) * 5 / 60 + 1e-6
    taken = await buckets.take("me")
    if taken.wait_seconds:
        time.forward(taken.wait_seconds + 0.001)
        assert (await buckets.take("me")).wait_seconds == 0


async def test_buckets_and_attempts_are_bounded() -> None:
    """Memory is bounded, whatever names come."""
    time = Time()
    buckets = MemoryBuckets(Quota("q", 1, 60), monotonic=time.monotonic, keys_max=2)
    limit = AttemptLimit(name="l", attempts_max=1, window_seconds=60, keys_max=2)
    attempts = MemoryAttempts(limit, monotonic=time.monotonic)
    for name in ("a", "b", "c", "a"):
        assert (await buckets.take(name)).wait_seconds == 0
        assert await attempts.take(name) == 0
    assert (await buckets.take("a")).wait_seconds > 0
    assert await attempts.take("a") == 60


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.9, 10.0.0.7"], "198.51.100.9"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.9"], "198.51.100.9"),
        ("10.0.0.1", ["junk"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.9, junk"], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("fd00::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
        ("2001:db8:1:2::9", [], "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        (None, ["198.51.100.9"], "unknown"),
    ],
)
def test_an_address_is_the_peers_unless_a_proxy_of_ours_says_more(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    """B67: the right-most hop that is none of ours; a client cannot choose what it is."""
    scope = {
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", text.encode()) for text in forwarded],
    }
    assert client_address(scope, PROXIES) == address


def test_instances_are_replaced_without_forgetting_those_that_stay() -> None:
    """What discovery will do: breakers and requests under way stay with their instance."""
    upstream = Upstream("order", ["http://a:1"], random=lambda: 0.0, monotonic=Time().monotonic)
    lease = upstream.lease()
    assert lease is not None
    upstream.replace(["http://b:1", "http://a:1", "http://b:1"])
    assert upstream.urls == ("http://b:1", "http://a:1")
    busy = [found.instance.url for found in (upstream.lease(), upstream.lease()) if found]
    assert busy[0] == "http://b:1"
    upstream.done(lease, failed=False)
    upstream.replace([])
    assert upstream.lease() is None
    assert upstream.wait_seconds() == 0


@pytest.mark.parametrize("prefix", ["", "/", "api", "/api/", "/api//x", "/api/{id}", "/API"])
def test_a_route_that_could_not_be_meant_is_refused(prefix: str) -> None:
    """The table is checked at start."""
    with pytest.raises(ConfigurationError):
        Route(prefix, "order")


def test_the_table_has_each_prefix_once_and_the_longest_wins() -> None:
    """A prefix ends where a segment does."""
    table = RouteSet([Route("/api", "a"), Route("/api/orders", "b")])
    for path, service in (("/api/orders/1", "b"), ("/api/ordersx", "a"), ("/api", "a")):
        found = table.find(path)
        assert found is not None
        assert found.service == service
    assert table.find("/apix") is None
    for routes in ([], [Route("/api", "a"), Route("/api", "b")]):
        with pytest.raises(ConfigurationError):
            RouteSet(routes)


@pytest.mark.parametrize("url", ["order:8081", "ftp://order", "http://", "http://order/api"])
def test_an_upstream_is_an_origin(url: str) -> None:
    """Checked at start."""
    with pytest.raises(ConfigurationError, match="http"):
        GatewaySettings(upstreams={"order": (url,)})
    with pytest.raises(ConfigurationError):
        networks(["10.0.0.0/8", "not one"])


def test_an_open_address_needs_tokens() -> None:
    """C43: services listen to the world once they ask for a token, and not before."""
    world = "0.0.0.0"  # noqa: S104 - what is asked about
    with pytest.raises(ConfigurationError, match="TOKENS_ISSUER"):
        Settings.load(host=world)
    assert Settings.load(host=world, tokens_issuer="https://accounts.example").host == world
    assert Settings.load(host=world, accounts=True).host == world


def test_the_platforms_settings_say_whose_tokens_are_taken() -> None:
    """Off by default; our own accounts without a word; any other issuer by its settings."""
    assert token_settings(Settings.load()) is None
    own = token_settings(Settings.load(accounts=True, port_base=9000))
    assert own is not None
    assert (own.issuer, own.algorithm) == ("http://127.0.0.1:9006", "ES256")
    assert own.jwks_url == "http://127.0.0.1:9006/.well-known/jwks.json"
    foreign = token_settings(
        Settings.load(
            tokens_issuer="https://id.example/realms/shop",
            tokens_algorithm="RS256",
            tokens_type="JWT",
            tokens_roles_claim="realm_access.roles",
        )
    )
    assert foreign is not None
    assert (foreign.jwks_url, foreign.token_type) == ("", "JWT")
    with pytest.raises(ConfigurationError, match="https"):
        token_settings(Settings.load(tokens_issuer="http://id.example"))


def test_behind_our_gateway_attempts_are_counted_by_the_clients_address() -> None:
    """Else all customers of a gateway would share one limit of log-ins."""
    assert accounts_proxies(Settings.load(accounts=True, gateway=True)) == (
        "127.0.0.0/8",
        "::1/128",
    )
    assert accounts_proxies(Settings.load(trusted_proxies="10.0.0.0/8")) == ("10.0.0.0/8",)
    chosen = gateway_settings(Settings.load(port_base=9000), {"order": 1})
    assert chosen.upstreams == {"order": ("http://127.0.0.1:9001",)}
