"""The load generator: honest latencies, and no request whose end it does not know."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.operations.scripted import ORDER, Asked, answer, scripted

from waybill.operations import generator as generator_module
from waybill.operations.generator import Generator
from waybill.operations.history import Entry, HistoryWriter, hash_of, read_history
from waybill.operations.http_client import Connection, NotConnectedError
from waybill.operations.plan import Plan
from waybill.operations.watcher import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from tests.operations.scripted import Answers

    from waybill.operations.plan import Result

REFUSED = answer(503, '{"code":"overloaded"}')
UNKNOWN = answer(503, '{"code":"outcome_unknown"}')


TEN = Plan(rate=1000, seconds=0.0095, connections=1)
ONE = replace(TEN, seconds=0.0005)


async def sent(
    path: Path, answers: Answers, plan: Plan = TEN
) -> tuple[Result, list[Entry], list[Asked]]:
    """Run a plan against scripted answers."""
    async with scripted(answers) as service:
        plan = replace(plan, port_base=service.port - 1)
        with HistoryWriter(path) as history:
            result = await asyncio.wait_for(Generator(plan, history=history).run(), 30)
        return result, list(read_history(path)), service.asked


async def created(_: Asked) -> bytes:
    """201 to all."""
    return answer(201)


async def test_every_request_is_noted_as_it_was(tmp_path: Path) -> None:
    """Each has a key of its own, and the history says what was sent and what came back."""
    result, entries, asked = await sent(tmp_path / "h", created)
    assert result.accepted == len(asked) == len(entries) == 10
    assert len({request.key for request in asked}) == 10
    for request, entry in zip(asked, entries, strict=True):
        assert (entry.operation, entry.scope, entry.key) == ("place", "", request.key)
        assert (entry.status, entry.outcome, entry.order_id) == (201, "ok", ORDER)
        assert entry.payload_hash == hash_of(request.body)
        assert entry.customer_id == json.loads(request.body)["customerId"]
        assert entry.body_hash == hash_of(f'{{"id":"{ORDER}"}}'.encode())
    gaps = {round((b.at - a.at).total_seconds(), 4) for a, b in pairwise(entries)}
    assert gaps == {0.001}, "as the plan had them, however late they left"


async def test_a_token_is_shown_and_its_caller_noted(tmp_path: Path) -> None:
    """Where tokens are asked for: with every request, and keys are that caller's in the history."""
    plan = replace(TEN, token="t0ken", caller="waybill-services", cancel_every=2)  # noqa: S106 - of a test
    _, entries, asked = await sent(tmp_path / "h", created, plan)
    assert {request.authorization for request in asked} == {"bearer t0ken"}
    assert {request.path.rpartition("/")[2] for request in asked} == {"orders", "cancel"}
    assert {entry.scope for entry in entries} == {"waybill-services"}
    assert "t0ken" not in repr(plan)


async def test_latency_counts_from_the_intended_send(tmp_path: Path) -> None:
    """A stall of the first answer delays all that were due meanwhile, and it shows in each."""

    async def stalls(asked: Asked) -> bytes:
        if asked.number == 0:
            await asyncio.sleep(0.2)
        return answer(201)

    result, entries, _ = await sent(tmp_path / "h", stalls)
    assert min(result.latencies) > 0.18
    assert [entry.seconds for entry in entries] == pytest.approx(list(result.latencies), abs=0.05)


@pytest.mark.parametrize("how", ["cut", "outcome_unknown", "500", "too late"])
async def test_an_unknown_outcome_is_resolved_by_its_key(tmp_path: Path, how: str) -> None:
    """It is sent again, the same bytes with the same key, and each try is a line."""

    async def first_unknown(asked: Asked) -> bytes | None:
        tries[asked.key].append(asked.body)
        if len(tries[asked.key]) > 1:
            return answer(200)
        if how == "too late":
            await asyncio.sleep(5)
        return {"cut": None, "500": answer(500, "{}")}.get(how, UNKNOWN)

    tries: dict[str, list[bytes]] = defaultdict(list)
    result, entries, _ = await sent(
        tmp_path / "h", first_unknown, replace(ONE, timeout_seconds=0.1)
    )
    assert (result.accepted, result.unknown, result.replayed) == (1, 0, 0)
    ((first, second),) = tries.values()
    assert first == second
    assert [entry.outcome for entry in entries] == ["info", "ok"]
    assert len({entry.key for entry in entries}) == 1
    assert entries[0].at < entries[1].at
    assert result.latencies[0] > 0.1, "from the first try's intended send"


async def test_a_turned_away_retry_resolves_nothing(tmp_path: Path) -> None:
    """503 and 429 say nothing about the request before; the next 2xx does."""

    async def by_turn(asked: Asked) -> bytes:
        return [UNKNOWN, REFUSED, answer(429, ""), answer(200)][asked.number]

    result, entries, _ = await sent(tmp_path / "h", by_turn, ONE)
    assert [entry.outcome for entry in entries] == ["info", "fail", "fail", "ok"]
    assert result.accepted == 1
    assert not result.refused


async def test_what_is_never_answered_stays_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time, or when too many are open, it is counted as unknown."""

    async def never(_: Asked) -> None:
        return None

    monkeypatch.setattr(generator_module, "RESOLVING_MAX", 4)
    result, entries, _ = await sent(tmp_path / "h", never, replace(TEN, resolve_seconds=0.3))
    assert (result.accepted, result.unknown) == (0, 10)
    assert {entry.outcome for entry in entries} == {"info"}
    assert len(entries) > 10 + 4


async def test_refusals_are_counted_by_status(tmp_path: Path) -> None:
    """A definite no is a `fail`, once, with its latency, and is not sent again."""

    async def by_turn(asked: Asked) -> bytes:
        return REFUSED if asked.number % 2 else answer(409, '{"code":"x"}')

    result, entries, _ = await sent(tmp_path / "h", by_turn)
    assert result.refused == {"503": 5, "409": 5}
    assert len(result.refusal_latencies) == 10
    assert {(entry.status, entry.outcome) for entry in entries} == {(503, "fail"), (409, "fail")}
    assert all(entry.order_id is None and entry.body_hash for entry in entries)


async def test_a_closed_loop_does_not_hammer_who_refuses(tmp_path: Path) -> None:
    """It pauses after a refusal: what it would take is the platform's."""

    async def no(_: Asked) -> bytes:
        return REFUSED

    result, _, _ = await sent(tmp_path / "h", no, Plan(0, 0.3, 1))
    assert 1 <= result.refused["503"] <= 6


async def test_what_was_never_sent_is_a_refusal(tmp_path: Path) -> None:
    """Without a listener nothing was done, and it is known."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with HistoryWriter(tmp_path / "h") as history:
        plan = Plan(1000, 0.0015, 1, port_base=port - 1)
        result = await Generator(plan, history=history).run()
    assert result.refused == {"not connected": 2}
    entries = list(read_history(tmp_path / "h"))
    assert {(entry.status, entry.outcome) for entry in entries} == {(None, "fail")}


async def test_repeats_and_cancels_are_lines_of_their_own(tmp_path: Path) -> None:
    """A repeat has its order's key; a cancel names the order and has no key."""

    async def as_asked(asked: Asked) -> bytes:
        return answer(409 if asked.path.endswith("cancel") else 201)

    result, entries, asked = await sent(
        tmp_path / "h", as_asked, replace(TEN, repeat_every=2, cancel_every=5)
    )
    assert (result.accepted, result.replayed, result.cancelled) == (10, 5, 0)
    assert len(asked) == len(entries) == 17
    cancels = [entry for entry in entries if entry.operation == "cancel"]
    assert {(e.order_id, e.key, e.status, e.outcome) for e in cancels} == {
        (ORDER, None, 409, "fail")
    }
    assert sum(request.path == f"/api/orders/{ORDER}/cancel" for request in asked) == 2


async def test_a_closed_loop_keeps_every_connection_busy(tmp_path: Path) -> None:
    """Rate 0: the next order leaves when the answer is there, on each connection."""
    busiest = 0
    at_once = 0

    async def slow(_: Asked) -> bytes:
        nonlocal busiest, at_once
        at_once += 1
        busiest = max(busiest, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return answer(201)

    result, _, _ = await sent(tmp_path / "h", slow, Plan(0, 0.3, 4))
    assert busiest == 4
    assert 8 <= result.accepted <= 64


async def test_an_answer_may_come_in_pieces() -> None:
    """The client waits for the whole body, and is ready for the next request."""
    whole = answer(200, '{"status":"CONFIRMED"}')

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            for byte in whole:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        connection = Connection("127.0.0.1", server.sockets[0].getsockname()[1])
        for _ in range(2):
            found = await connection.request("GET", "/x")
            assert (found.status, found.body) == (200, b'{"status":"CONFIRMED"}')
        with pytest.raises(ConnectionError):
            await connection.request("GET", "/x")
        connection.close()
    with pytest.raises(NotConnectedError):
        await connection.request("GET", "/x")


async def test_a_sample_is_watched_until_it_ends() -> None:
    """Each n-th order is looked at by GET; a cancelled one has no latency."""
    looks: dict[str, int] = defaultdict(int)

    async def later(asked: Asked) -> bytes:
        looks[asked.path] += 1
        ended = "CANCELLED" if asked.path.endswith("-3") else "CONFIRMED"
        return answer(200, f'{{"status":"{ended if looks[asked.path] > 2 else "PENDING"}"}}')

    async with scripted(later) as service:
        watcher = Watcher("127.0.0.1", service.port, every=3)
        began = asyncio.get_running_loop().time()
        for number in range(1, 13):
            watcher.accepted(f"order-{number}".encode(), began)
        await watcher.close(5)
    assert looks == {f"/api/orders/order-{number}": 3 for number in (3, 6, 9, 12)}
    assert len(watcher.latencies) == 3
    assert watcher.left_out == 0


async def test_so_many_orders_at_once_are_all_under_way_before_one_is_answered(
    tmp_path: Path,
) -> None:
    """As many requests as are asked for, each on a connection of its own, and no more."""
    all_there, asked = asyncio.Event(), list[str]()

    async def wait_for_all(request: Asked) -> bytes:
        asked.append(request.key)
        if len(asked) == 8:
            all_there.set()
        await all_there.wait()
        return answer(201)

    plan = Plan(rate=0, seconds=3_600, connections=8, orders_max=8)
    result, entries, _ = await sent(tmp_path / "h", wait_for_all, plan)
    assert result.accepted == len(entries) == len(set(asked)) == 8
    fewer = replace(plan, connections=3, orders_max=5)
    assert (await sent(tmp_path / "f", created, fewer))[0].accepted == 5
