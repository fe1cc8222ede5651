"""The accounts service over its database: what it gives, to whom, and what it never tells."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from joserfc import jws
from tests.edge.conftest import CHEAP
from tests.edge.forged import FORGED
from tests.edge.issuer import Issuer

from waybill.edge.accounts.passwords import Passwords, PasswordSettings
from waybill.edge.tokens.errors import InvalidTokenError
from waybill.messaging.core.errors import OverloadedError

if TYPE_CHECKING:
    import httpx2
    from tests.edge.conftest import World

EMAIL = "Ada@Example.org"
PASSWORD = "correct horse battery"  # noqa: S105 - of a test
ADA = {"email": EMAIL, "password": PASSWORD}


async def _registered(client: httpx2.AsyncClient, **changes: str) -> dict[str, Any]:
    answer = await client.post("/register", json={**ADA, **changes})
    assert answer.status_code == 201, answer.text
    account: dict[str, Any] = answer.json()
    return account


async def _tokens(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.post("/login", json=ADA)
    assert answer.status_code == 200, answer.text
    granted: dict[str, Any] = answer.json()
    return granted


def _bearer(granted: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {granted['accessToken']}"}


async def test_who_registers_can_log_in_and_is_a_customer(world: World) -> None:
    """R010, R042: register, log in, and the token is taken; the address in any capitals."""
    async with world.client() as client:
        account = await _registered(client)
        assert (account["email"], account["roles"]) == ("ada@example.org", ["customer"])
        granted = await _tokens(client)
        for path in ("/me", "/validate-token"):
            shown = await client.get(path, headers=_bearer(granted))
            assert (shown.status_code, shown.json()) == (200, account)
        caller = await world.running[-1].verifier.verify(granted["accessToken"].encode())
        assert caller.subject == account["id"]
        assert (granted["expiresIn"], granted["tokenType"]) == (900, "Bearer")


async def test_a_registration_is_published_without_its_address(world: World) -> None:
    """Account events go through the outbox as every other; I45: no e-mail in them."""
    async with world.client() as client:
        account = await _registered(client)
        assert (await client.post("/register", json=ADA)).status_code == 409
    rows = await world.database.fetch("SELECT aggregateid, type, payload FROM messaging.outbox")
    [(key, kind, payload)] = [(r["aggregateid"], r["type"], bytes(r["payload"])) for r in rows]
    assert (key, kind) == (account["id"], "AccountRegistered")
    assert json.loads(payload)["accountId"] == account["id"]
    assert b"@" not in payload


async def test_one_address_has_one_account(world: World) -> None:
    """Two registrations at once: one account, one event."""
    async with world.client() as client:
        answers = await asyncio.gather(*(client.post("/register", json=ADA) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    [row] = await world.database.fetch("SELECT count(*) AS count FROM messaging.outbox")
    assert row["count"] == 1


async def test_an_unknown_account_costs_the_same_work_and_gets_the_same_answer(
    world: World,
) -> None:
    """API2: Argon2 runs once whoever is asked for; the bodies are alike but for the trace."""
    async with world.client() as client:
        await _registered(client)
        passwords = world.running[-1].passwords
        bodies = []
        for email in (EMAIL, "nobody@example.org"):
            before = passwords.verifications
            wrong = {"email": email, "password": "something else"}
            answer = await client.post("/login", json=wrong)
            assert answer.status_code == 401
            assert passwords.verifications == before + 1
            bodies.append({**answer.json(), "traceId": ""})
        assert bodies[0] == bodies[1]
        assert bodies[0]["code"] == "invalid_credentials"


async def test_attempts_are_limited_by_account(world: World) -> None:
    """API2: five in a quarter of an hour, with Retry-After; unknown accounts are no exception."""
    async with world.client() as client:
        await _registered(client)
        for email in (EMAIL, "nobody@example.org"):
            wrong = {"email": email, "password": "something else"}
            for _ in range(5):
                assert (await client.post("/login", json=wrong)).status_code == 401
            before = world.running[-1].passwords.verifications
            for body in (wrong, {**wrong, "password": PASSWORD}):
                answer = await client.post("/login", json=body)
                assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
                assert answer.headers["retry-after"] == "900"
            assert world.running[-1].passwords.verifications == before
        world.clock.instant += timedelta(seconds=900)
        await _tokens(client)


async def test_a_success_forgives_what_came_before(world: World) -> None:
    """Who mistypes now and then is not locked out."""
    async with world.client() as client:
        await _registered(client)
        for _ in range(3):
            for _ in range(4):
                await client.post("/login", json={**ADA, "password": "something else"})
            await _tokens(client)
            world.clock.instant += timedelta(seconds=60)


async def test_attempts_are_limited_by_address(world: World) -> None:
    """API2: twenty a minute from one address, whatever accounts are tried."""
    async with world.client() as client:
        for number in range(20):
            body = {"email": f"{number}@example.org", "password": "something else"}
            assert (await client.post("/login", json=body)).status_code == 401
        answer = await client.post("/register", json=ADA)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        world.clock.instant += timedelta(seconds=60)
        await _registered(client)


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(world: World) -> None:
    """Rotated; reuse revokes the family, the newest token with it."""
    async with world.client() as client:
        await _registered(client)
        first, other = await _tokens(client), await _tokens(client)
        second = await client.post("/refresh", json={"refreshToken": first["refreshToken"]})
        assert second.status_code == 200
        granted = second.json()
        assert granted["refreshToken"] != first["refreshToken"]
        assert (await client.get("/me", headers=_bearer(granted))).status_code == 200
        for token in (first, granted):
            answer = await client.post("/refresh", json={"refreshToken": token["refreshToken"]})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_refresh_token")
        for path in ("/refresh-token", "/refresh"):
            kept = await client.post(path, json={"refreshToken": other["refreshToken"]})
            assert kept.status_code == 200, "another session of theirs goes on"
            other = kept.json()


async def test_two_exchanges_at_once_give_tokens_once(world: World) -> None:
    """A token that was copied: one exchange wins, and what it gave ends with the second."""
    async with world.client() as client:
        await _registered(client)
        body = {"refreshToken": (await _tokens(client))["refreshToken"]}
        answers = await asyncio.gather(*(client.post("/refresh", json=body) for _ in range(4)))
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        again = await client.post("/refresh", json={"refreshToken": won[0]["refreshToken"]})
        assert again.status_code == 401


async def test_logging_out_ends_the_session(world: World) -> None:
    """It may be repeated, and tells nothing of tokens that never were."""
    async with world.client() as client:
        await _registered(client)
        granted = await _tokens(client)
        for token in (granted["refreshToken"], granted["refreshToken"], "made up"):
            assert (await client.post("/logout", json={"refreshToken": token})).status_code == 204
        answer = await client.post("/refresh", json={"refreshToken": granted["refreshToken"]})
        assert answer.status_code == 401


async def test_a_session_ends_after_its_time_and_is_forgotten_later(world: World) -> None:
    """Refresh tokens live 30 days from the log-in, however often they were exchanged."""
    async with world.client() as client:
        await _registered(client)
        granted = await _tokens(client)
        assert granted["refreshExpiresIn"] == 30 * 86_400
        world.clock.instant += timedelta(days=29)
        granted = (
            await client.post("/refresh", json={"refreshToken": granted["refreshToken"]})
        ).json()
        assert granted["refreshExpiresIn"] == 86_400
        world.clock.instant += timedelta(days=1)
        answer = await client.post("/refresh", json={"refreshToken": granted["refreshToken"]})
        assert answer.status_code == 401
        accounts = world.running[-1].accounts
        assert await accounts.purge() == 0
        world.clock.instant += timedelta(days=8)
        assert await accounts.purge() == 1
    [row] = await world.database.fetch("SELECT count(*) AS count FROM private.refresh_tokens")
    assert row["count"] == 0


async def test_nothing_secret_stands_in_the_books_as_it_was_given(world: World) -> None:
    """Refresh tokens and passwords are kept as hashes only."""
    async with world.client() as client:
        await _registered(client)
        granted = await _tokens(client)
    [tokens] = await world.database.fetch("SELECT hash FROM private.refresh_tokens")
    [account] = await world.database.fetch("SELECT password_hash FROM private.accounts")
    assert granted["refreshToken"].encode() not in bytes(tokens["hash"])
    assert PASSWORD not in account["password_hash"]
    assert account["password_hash"].startswith("$argon2id$")


async def test_passwords_cost_what_is_promised() -> None:
    """Promises, security 3: Argon2id with 19 456 KiB, two passes, one lane."""
    passwords = Passwords()
    kept = await passwords.hash(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(kept, PASSWORD)
    assert not await passwords.verify(kept, PASSWORD + " ")
    assert not await passwords.verify("no hash at all", PASSWORD)
    passwords.close()


async def test_a_password_is_hashed_anew_when_more_work_is_asked_for(world: World) -> None:
    """Promises, security 3: rehash on login."""
    async with world.client() as client:
        await _registered(client)
    dearer = PasswordSettings(memory_kibibytes=128, passes=1)
    async with world.client(world.again(dearer)) as client:
        for _ in range(2):
            await _tokens(client)
    [account] = await world.database.fetch("SELECT password_hash FROM private.accounts")
    assert "m=128,t=1" in account["password_hash"]


async def test_a_flood_of_passwords_is_refused_at_once() -> None:
    """Limits on everything: so many run, so many wait, the rest is 503."""
    few = PasswordSettings(memory_kibibytes=64, passes=1, concurrency_max=1, waiting_max=1)
    passwords = Passwords(few)
    found = await asyncio.gather(
        *(passwords.verify(None, PASSWORD) for _ in range(5)), return_exceptions=True
    )
    assert found.count(False) == 2
    assert sum(isinstance(each, OverloadedError) for each in found) == 3
    assert not await passwords.verify(None, PASSWORD)
    passwords.close()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"email": "nobody", "password": PASSWORD}, "#/email"),
        ({"email": "a@b@c", "password": PASSWORD}, "#/email"),
        ({"email": "a b@example.org", "password": PASSWORD}, "#/email"),
        ({"email": "a@" + "b" * 260, "password": PASSWORD}, "#/email"),
        ({"email": EMAIL, "password": "short"}, "#/password"),
        ({"email": EMAIL, "password": "x" * 129}, "#/password"),
        ({"email": EMAIL}, "#/password"),
        ({**ADA, "roles": ["admin"]}, "#/roles"),
    ],
)
async def test_bad_credentials_are_refused_with_their_place(
    world: World, body: dict[str, Any], pointer: str
) -> None:
    """API3: no member that is not asked for; a role is never taken from a body."""
    async with world.client() as client:
        for path in ("/register", "/login"):
            answer = await client.post(path, json=body)
            assert answer.status_code == 400
            assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
            assert str(body.get("password", "?")) not in answer.text


async def test_every_forged_token_gets_one_and_the_same_answer(world: World) -> None:
    """Security 2: 401 without a difference in the body, whatever is wrong with it."""
    issuer, bodies = Issuer(), set()
    async with world.client() as client:
        for name, _, forge in FORGED:
            token = forge(issuer)
            if b"\n" in token:
                continue  # no header can hold it
            answer = await client.get("/me", headers={"Authorization": f"Bearer {token.decode()}"})
            assert answer.status_code == 401, name
            assert answer.headers["www-authenticate"].startswith("Bearer"), name
            bodies.add(json.dumps({**answer.json(), "traceId": ""}))
        for credentials in ("Basic YTpi", "Bearer", "bearer  "):
            answer = await client.get("/me", headers={"Authorization": credentials})
            bodies.add(json.dumps({**answer.json(), "traceId": ""}))
        answer = await client.get("/me")
        bodies.add(json.dumps({**answer.json(), "traceId": ""}))
    assert len(bodies) == 1


async def test_keys_rotate_without_an_outage(world: World) -> None:
    """A new key is published before it signs, the old one kept until its tokens end.

    A verifier that asks for keys every five minutes, and two processes of accounts, never
    refuse a living token; the old key is gone afterwards.
    """
    signer, other = world.again(), world.again()
    async with world.client(signer) as client, world.client(other) as second:
        await _registered(client)
        await _tokens(client)
        key_ids: list[str] = []
        published: dict[str, datetime] = {}
        living: list[tuple[bytes, float]] = []
        world.clock.instant += timedelta(days=30) - timedelta(minutes=20)
        for minute in range(60):
            world.clock.instant += timedelta(minutes=1)
            granted = await _tokens(client if minute % 2 else second)
            token = granted["accessToken"].encode()
            key_ids.append(_key_id(token))
            for key in json.loads(await signer.accounts.keys())["keys"]:
                published.setdefault(key["kid"], world.clock.now())
            if len(set(key_ids)) == 2:
                known_for = world.clock.now() - published[key_ids[-1]]
                assert known_for >= timedelta(minutes=10), "twice as long as keys are kept"
            living.append((token, world.clock.now().timestamp() + 900))
            for known, expires_at in living:
                if world.clock.now().timestamp() < expires_at:
                    for built in (signer, other):
                        await built.verifier.verify(known)
        assert len(dict.fromkeys(key_ids)) == 2
        assert key_ids == sorted(key_ids, key=key_ids.index), "it does not go back and forth"
        answer = await client.get("http://accounts/.well-known/jwks.json")
        assert [key["kid"] for key in answer.json()["keys"]] == [key_ids[-1]]
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert "d" not in answer.json()["keys"][0]
    [row] = await world.database.fetch("SELECT count(*) AS count FROM private.signing_keys")
    assert row["count"] == 1


async def test_two_processes_that_start_at_once_sign_with_one_key(world: World) -> None:
    """The first start makes one key, whoever comes first."""
    built = [world.again() for _ in range(3)]
    sets = await asyncio.gather(*(one.accounts.keys() for one in built))
    assert len(set(sets)) == 1


async def test_a_token_of_another_deployment_opens_nothing(world: World) -> None:
    """Another database has other keys: the same claims do not help."""
    async with world.client() as client:
        await _registered(client)
        granted = await _tokens(client)
    claims = jws.extract_compact(granted["accessToken"].encode()).payload
    stranger = Issuer()
    forged = stranger.token(**json.loads(claims))
    with pytest.raises(InvalidTokenError, match="key_unknown"):
        await world.running[-1].verifier.verify(forged)


def _key_id(token: bytes) -> str:
    header = token.split(b".")[0]
    found: str = json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))["kid"]
    return found


assert CHEAP.memory_kibibytes < PasswordSettings().memory_kibibytes
