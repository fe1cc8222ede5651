"""Access tokens: what opens, what never does, and what an issuer's rotation and outages cost."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey
from tests.edge.forged import FORGED
from tests.edge.issuer import ISSUER, SUBJECT, Issuer

from waybill.commerce.testing.http_server import Asked, Reply, TryServer
from waybill.edge.tokens.discovery import KeyAddress
from waybill.edge.tokens.errors import InvalidTokenError
from waybill.edge.tokens.keys import IssuerKeys, read_keys
from waybill.edge.tokens.services_token import WithServicesToken
from waybill.edge.tokens.settings import TokenSettings
from waybill.edge.tokens.verifier import TokenVerifier
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from tests.edge.forged import Forge


async def test_a_good_token_names_its_caller() -> None:
    """Conventions 1.18: ours are at+jwt by ES256, with a subject and roles."""
    issuer = Issuer()
    caller = await issuer.verifier().verify(issuer.token(roles=["customer", "operator", "root"]))
    assert caller.subject == SUBJECT
    assert caller.roles == {"customer", "operator"}
    for audience in ("waybill", ["bank", "waybill"]):
        assert (await issuer.verifier().verify(issuer.token(aud=audience))).subject == SUBJECT


@pytest.mark.parametrize(("reason", "forge"), [pytest.param(r, f, id=n) for n, r, f in FORGED])
async def test_a_forged_token_opens_nothing(reason: str, forge: Forge) -> None:
    """Promises, security 2: each of them is refused, for its own reason, and never remembered."""
    issuer = Issuer()
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())  # the keys are known
    for _ in range(2):
        with pytest.raises(InvalidTokenError) as refused:
            await verifier.verify(forge(issuer))
        assert refused.value.reason == reason


async def test_clocks_may_be_apart_by_the_leeway_and_no_more() -> None:
    """RFC 8725: leeway 30 seconds, for exp, iat and nbf."""
    issuer = Issuer()
    now = int(issuer.time.now().timestamp())
    good: list[dict[str, Any]] = [
        {"iat": now - 900, "exp": now - 29},
        {"iat": now + 30},
        {"nbf": now + 30},
    ]
    for claims in good:
        await issuer.verifier().verify(issuer.token(**claims))
    with pytest.raises(InvalidTokenError, match="expired"):
        await issuer.verifier().verify(issuer.token(iat=now - 900, exp=now - 30))


async def test_a_token_is_verified_once_until_it_expires() -> None:
    """Cached by digest; what is cached is good no longer than the token."""
    issuer = Issuer()
    verifier, token = issuer.verifier(), issuer.token()
    for _ in range(5):
        await verifier.verify(token)
    assert verifier.signatures == 1
    issuer.time.forward(929)
    await verifier.verify(token)
    assert verifier.signatures == 1
    issuer.time.forward(1)
    with pytest.raises(InvalidTokenError, match="expired"):
        await verifier.verify(token)


async def test_the_cache_is_bounded() -> None:
    """Limits on everything: the oldest makes room."""
    issuer = Issuer()
    verifier = issuer.verifier(cache_size_max=2)
    tokens = [issuer.token(jti=str(number)) for number in range(3)]
    for token in (*tokens, tokens[2], tokens[0]):
        await verifier.verify(token)
    assert verifier.signatures == 4


async def test_a_rotated_key_is_fetched_when_a_token_names_it() -> None:
    """Key rotation without an outage, also for who asked for the keys just before it."""
    issuer = Issuer()
    verifier = issuer.verifier()
    old = issuer.token()
    await verifier.verify(old)
    issuer.rotate()
    issuer.time.forward(60)
    await verifier.verify(issuer.token())
    await verifier.verify(old)
    assert issuer.fetches == 2


async def test_made_up_keys_do_not_make_us_ask() -> None:
    """Security 2: no fetch per unknown kid; a floor of 60 seconds."""
    issuer = Issuer()
    verifier = issuer.verifier()
    for number in range(20):
        with pytest.raises(InvalidTokenError, match="key_unknown"):
            await verifier.verify(issuer.token(header={"kid": f"made-up-{number}"}))
    assert issuer.fetches == 1
    issuer.time.forward(60)
    with pytest.raises(InvalidTokenError, match="key_unknown"):
        await verifier.verify(issuer.token(header={"kid": "made-up"}))
    assert issuer.fetches == 2


async def test_a_withdrawn_key_opens_nothing_once_that_is_known() -> None:
    """A key that was taken back takes its remembered tokens with it."""
    issuer = Issuer()
    verifier = issuer.verifier()
    stolen = issuer.token()
    await verifier.verify(stolen)
    issuer.rotate()
    del issuer.keys[0]
    issuer.time.forward(60)
    await verifier.verify(issuer.token())
    with pytest.raises(InvalidTokenError, match="key_unknown"):
        await verifier.verify(stolen)


async def test_many_callers_fetch_the_keys_once() -> None:
    """A start under load is one request to the issuer."""
    issuer = Issuer()
    verifier = issuer.verifier()
    await asyncio.gather(*(verifier.verify(issuer.token(jti=str(n))) for n in range(10)))
    assert issuer.fetches == 1


async def test_an_issuer_that_is_away_allows_nothing_new() -> None:
    """Security 2: an outage of the issuer must not mean "allowed", nor that a token is bad."""
    issuer = Issuer(failure=TransientError("away"))
    verifier = issuer.verifier()
    for _ in range(3):
        with pytest.raises(TransientError):
            await verifier.verify(issuer.token())
    assert issuer.fetches == 1
    issuer.failure = None
    issuer.time.forward(5)
    await verifier.verify(issuer.token())


async def test_known_keys_outlast_a_short_outage() -> None:
    """An issuer that restarts locks nobody out; after an hour its keys are too old."""
    issuer = Issuer()
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.failure = TransientError("away")
    issuer.time.forward(3_600)
    await verifier.verify(issuer.token())
    with pytest.raises(TransientError):
        await verifier.verify(issuer.token(header={"kid": "perhaps-a-newer-one"}))
    issuer.time.forward(1)
    with pytest.raises(TransientError):
        await verifier.verify(issuer.token())


def test_only_keys_of_the_one_algorithm_are_taken() -> None:
    """Security 2: one algorithm a key; symmetric, short, private and strange ones are left out."""
    good, other = ECKey.generate_key("P-256"), ECKey.generate_key("P-384")
    listed = [
        dict(good.as_dict(private=True), kid="good"),
        dict(other.as_dict(private=False), kid="other-curve"),
        dict(good.as_dict(private=False), kid="for-encryption", use="enc"),
        dict(good.as_dict(private=False), kid="other-algorithm", alg="ES384"),
        dict(good.as_dict(private=False), kid="../path"),
        dict(OctKey.generate_key(256).as_dict(), kid="symmetric"),
        dict(good.as_dict(private=False), kid="off-the-curve", x="AAAA"),
        "no key",
    ]
    keys = read_keys(json.dumps({"keys": listed}).encode(), "ES256")
    assert list(keys) == ["good"]
    assert not keys["good"].is_private
    for content in (b"", b"[]", b"{}", json.dumps({"keys": [{}] * 33}).encode()):
        with pytest.raises(TransientError):
            read_keys(content, "ES256")


async def test_our_services_show_a_token_of_their_own() -> None:
    """Between services: the secret is an operator; anything else is verified as ever."""
    issuer = Issuer()
    verifier = WithServicesToken(issuer.verifier(), "s" * 43)
    assert (await verifier.verify(b"s" * 43)).serves
    assert not (await verifier.verify(issuer.token())).serves
    for token in (b"", b"s" * 42, b"s" * 44, b"S" * 43):
        with pytest.raises(InvalidTokenError):
            await verifier.verify(token)


class _ForeignIssuer(TryServer):
    """As Keycloak: discovery, RS256, typ JWT, roles below realm_access."""

    def __init__(self) -> None:
        super().__init__()
        self.key = RSAKey.generate_key(2048, auto_kid=True)
        self.name = ""

    def reply(self, asked: Asked) -> Reply:
        if asked.path == "/realms/shop/.well-known/openid-configuration":
            document: dict[str, Any] = {
                "issuer": self.name,
                "jwks_uri": f"{self.url}/realms/shop/certs",
            }
        elif asked.path == "/realms/shop/certs":
            document = {"keys": [dict(self.key.as_dict(private=False), use="sig", alg="RS256")]}
        else:
            return Reply(404)
        return Reply(200, json.dumps(document).encode())


async def test_any_issuer_can_take_our_place_by_configuration() -> None:
    """C41, R244: a foreign issuer's algorithm and type are fixed in its configuration."""
    from joserfc import jwt  # noqa: PLC0415 - only here it signs for somebody else

    async with _ForeignIssuer() as server:
        server.name = f"{server.url}/realms/shop"
        settings = TokenSettings(
            issuer=server.name,
            audience="orders",
            algorithm="RS256",
            token_type="JWT",  # noqa: S106 - no secret
            roles_claim="realm_access.roles",
        )
        time = Issuer().time
        keys = IssuerKeys(KeyAddress(settings).fetch, settings, monotonic=time.monotonic)
        verifier = TokenVerifier(settings, keys, now=time.now)
        now = int(time.now().timestamp())
        claims: dict[str, Any] = {"iss": server.name, "aud": ["orders", "account"], "sub": SUBJECT}
        claims |= {"iat": now, "exp": now + 300, "realm_access": {"roles": ["admin", "offline"]}}
        header = {"alg": "RS256", "typ": "JWT", "kid": server.key.kid}
        token = jwt.encode(header, claims, server.key, algorithms=["RS256"]).encode()
        caller = await verifier.verify(token)
        assert (caller.subject, set(caller.roles)) == (SUBJECT, {"admin"})
        ours = Issuer()
        with pytest.raises(InvalidTokenError, match="algorithm"):
            await verifier.verify(ours.token())


async def test_an_issuer_that_calls_itself_otherwise_is_refused() -> None:
    """OIDC discovery: the configuration must be the issuer's own, and lead to safe addresses."""
    async with _ForeignIssuer() as server:
        settings = TokenSettings(issuer=f"{server.url}/realms/shop")
        for name in (f"{server.url}/realms/other", ""):
            server.name = name
            with pytest.raises(TransientError, match="another issuer"):
                await KeyAddress(settings).fetch()
        with pytest.raises(TransientError, match="404"):
            await KeyAddress(TokenSettings(issuer=server.url)).fetch()
    with pytest.raises(TransientError, match="does not answer"):
        await KeyAddress(settings).fetch()


@pytest.mark.parametrize(
    "given",
    [
        {"issuer": "http://accounts.example"},
        {"issuer": "ftp://accounts.example"},
        {"issuer": "https://user:secret@accounts.example"},
        {"issuer": "https://accounts.example?tenant=1"},
        {"issuer": ISSUER, "jwks_url": "http://keys.example/jwks.json"},
        {"issuer": ISSUER, "algorithm": "HS256"},
        {"issuer": ISSUER, "algorithm": "none"},
        {"issuer": ISSUER, "audience": ""},
        {"issuer": ISSUER, "leeway_seconds": 61},
    ],
)
def test_settings_that_cannot_be_safe_are_refused(given: dict[str, str]) -> None:
    """Start-up refuses keys without TLS, and every algorithm whose key both signs and verifies."""
    with pytest.raises(ConfigurationError):
        TokenSettings(**given)  # type: ignore[arg-type]  # the mistakes are the test
