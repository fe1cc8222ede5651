"""An outage in figures: what is counted, how it is told, and who stands for whoever is away."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from decimal import Decimal
from email.message import EmailMessage
from typing import TYPE_CHECKING

import aiosmtplib
import httpx2
import msgspec
import pytest
from scripts import choosing
from scripts.choosing_prose import CPU, retold, sections
from tests.operations.test_bench_figures import RESULTS

from waybill.blueprints.workload import MAIL_SERVER, OutsideTarget
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.core.identity import new_id
from waybill.operations.bench.comparison import Comparison, as_markdown, write_comparison
from waybill.operations.bench.figures import Sample
from waybill.operations.bench.outage import FirstAnswers, Outage, shares
from waybill.operations.bench.results import as_markdown as page_of
from waybill.operations.bench.stand_ins import (
    StandInMailServer,
    StandInNotified,
    StandInProvider,
    stand_in_for,
)
from waybill.operations.history import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from waybill.operations.bench.stand_ins import StandIn
    from waybill.operations.history import Outcome


def entry(key: str, status: int | None, outcome: Outcome = "ok", seconds: float = 0.01) -> Entry:
    """One try to place an order."""
    at = datetime(2026, 11, 22, tzinfo=UTC)
    return Entry(at, "place", "", key, None, None, status, outcome, None, None, seconds)


class Kept:
    """A history in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        """See History."""
        self.entries.append(entry)


ANSWERS = FirstAnswers(Kept())
for each in (*(entry(f"a{n}", 202, seconds=3.0) for n in range(3)), entry("b", 503, "fail")):
    ANSWERS.write(each)
OUTAGE = Outage(
    target="the payment provider",
    rate=20,
    seconds=30.25,
    began_seconds=4,
    answers=ANSWERS.answered(),
    accepted=600,
    good_when_back=1,
    shown_when_back={"CONFIRMED": 1, "PENDING": 199},
    failed_calls=17,
    ended_seconds=5.04,
    settled_seconds=6.0,
    confirmed=600,
    cancelled=0,
    audit="audit: clean: 38 rules hold, in 1.0 s",
    samples=tuple(Sample(at, at * 20, 0, 1, 1) for at in range(40)),
)


def test_an_order_counts_by_its_first_answer() -> None:
    """A repeat of an unknown request is in the history, and is no second customer."""
    history = Kept()
    answers = FirstAnswers(history)
    for each in (entry("a", None, "info", 10.0), entry("a", 202), entry("b", None, "fail")):
        answers.write(each)
    answers.write(msgspec.structs.replace(entry("c", 200), operation="cancel"))
    assert [(each.answer, each.latency.samples) for each in answers.answered()] == [
        ("no answer", 1),
        ("not connected", 1),
    ]
    assert answers.answered()[0].latency.p50 == 10_000
    assert len(history.entries) == 4


def test_shares_never_round_to_none_or_all() -> None:
    """One order of ten thousand is seen."""
    assert shares({"202": 9_999, "503": 1}) == "202 99.9 %, 503 0.1 %"
    assert shares({"202": 3}) == "202 100 %"
    assert shares({}) == "-"


def test_the_comparison_has_the_outage_below_the_phases(tmp_path: Path) -> None:
    """One table and one plot: a column a blueprint, both audits above it."""
    both = msgspec.structs.replace(RESULTS, outage=OUTAGE)
    comparison = Comparison(
        waybill="1.2.3", began="now", command="waybill bench", blueprints={"a": both, "b": both}
    )
    page = as_markdown(comparison)
    lines = page.splitlines()
    assert "| **somebody outside is away** | | |" in lines
    for title, value in (
        ("POST is answered", "202 75.0 %, 503 25.0 %"),
        ("at their good end by then", "1 of 600 (0.2 %)"),
        ("GET shows, before it is back", "PENDING 99.5 %, CONFIRMED 0.5 %"),
        ("**until all is settled**", "**6.0**"),
    ):
        assert f"| {title} | {value} | {value} |" in lines, page
    assert "202: 3000 / 3000 / 3000 / 3000<br>503: 10 / 10 / 10 / 10" in page
    assert f"{RESULTS.audit}; {OUTAGE.audit}." in page
    written = write_comparison(comparison, tmp_path)
    assert [path.name for path in written] == ["comparison.json", "comparison.md", "comparison.png"]
    assert msgspec.json.decode(written[0].read_bytes(), type=Comparison) == comparison
    without = Comparison(waybill="", began="", command="", blueprints={"a": both, "b": RESULTS})
    assert "away" not in as_markdown(without), "columns that are not all there are no rows"


def test_the_page_for_architects_takes_figures_from_a_run(tmp_path: Path) -> None:
    """Between its marks, the rest is left; each log has its tables, the outage among them."""
    both = msgspec.structs.replace(RESULTS, outage=OUTAGE)
    on_kafka = msgspec.structs.replace(both, topology="waybill bench: a, one process, on Kafka")
    for name, results in (("outbox", both), ("kafka", on_kafka)):
        blueprints = {"a": results, "b": results}
        comparison = Comparison(
            waybill="1", began="2026-11-22 00:00", command="", blueprints=blueprints
        )
        write_comparison(comparison, tmp_path / name)
    found = [choosing.read(tmp_path / name) for name in ("outbox", "kafka")]
    page = choosing.replaced(choosing.PAGE.read_text(), found)
    assert choosing.replaced(page, found) == page
    lines = page.splitlines()
    assert lines.count("| away for 30 s | a | b |") == 2
    assert (
        lines.count("| POST is answered | 202 75.0 %, 503 25.0 % | 202 75.0 %, 503 25.0 % |") == 2
    )
    assert lines.count("| POST, p50 and p99, ms | 51 and 100 | 51 and 100 |") == 2
    assert "**One process, on Kafka** (2026-11-22, 2 cores" in page
    before = choosing.PAGE.read_text().partition(choosing.BEGIN)[0]
    assert page.startswith(before)
    with pytest.raises(ValueError, match="lost its marks"):
        choosing.replaced("# Which blueprint", found)


def test_what_is_said_of_the_figures_is_what_they_are() -> None:
    """The sentences below the tables are made of the tables, and are refused where they err."""
    page = choosing.PAGE.read_text()
    assert retold(page) == page
    row = re.compile(r"^\| commits an order \| 7\.2 ", re.MULTILINE)
    changed = row.sub("| commits an order | 9.9 ", page)
    assert "4.0 to 9.9 commits" in retold(changed)
    outboxes, _ = sections(page)
    told = " | ".join(outboxes[CPU].values())
    cheap = " | ".join("0.1" if name == "notify" else cell for name, cell in outboxes[CPU].items())
    with pytest.raises(ValueError, match="are not the most"):
        retold(page.replace(told, cheap))
    with pytest.raises(ValueError, match="lost its marks"):
        retold("# Which blueprint")


def test_one_blueprint_has_its_outage_on_its_own_page() -> None:
    """With its audit, as everything that is told."""
    page = page_of(msgspec.structs.replace(RESULTS, outage=OUTAGE))
    assert f"the payment provider away: {OUTAGE.audit}." in page
    assert "| calls to it that failed | 17 |" in page.splitlines()
    assert "away" not in page_of(RESULTS)


async def test_the_provider_compares_its_books_with_ours() -> None:
    """Who paid and did not end well is named, and so is who ended well and did not pay."""
    stand_in = StandInProvider()
    await stand_in.start(0)
    try:
        url = stand_in.environment({})["PAYMENT_PROVIDER_URL"]
        paid = str(new_id())
        await charge(url, paid)
        assert stand_in.unlike({paid}) == set()
        assert stand_in.unlike(set()) == {paid}
        assert stand_in.unlike({paid, "other"}) == {"other"}
        await stand_in.gate.shut()
        with pytest.raises(httpx2.ConnectError):
            await charge(url, "x")
        await stand_in.gate.open()
        await charge(url, paid)
    finally:
        await stand_in.stop()


async def charge(url: str, key: str) -> None:
    """Ask for it."""
    asked = {"orderId": key, "amount": str(Decimal(1)), "currency": "EUR"}
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{url}/charges", json=asked, headers={"Idempotency-Key": key})
        assert answer.status_code == 200, answer.text


async def test_the_mail_server_knows_whom_it_mailed() -> None:
    """By the Message-ID, which begins with the order's id; away, it cannot be reached."""
    stand_in = stand_in_for(MAIL_SERVER)
    assert isinstance(stand_in, StandInMailServer)
    await stand_in.start(0)
    try:
        given = stand_in.environment({"SMTP_USER": "x", "HOME": "/"})
        assert "SMTP_USER" not in given, "who stands in is not asked for the user's own account"
        assert given["HOME"] == "/"
        order_id = str(new_id())
        mail = EmailMessage()
        mail["From"], mail["To"] = given["FROM_EMAIL"], "ana@customers.example"
        mail["Message-ID"] = f"<{order_id}.OrderConfirmed@waybill>"
        host, port = given["SMTP_HOST"], int(given["SMTP_PORT"])
        await aiosmtplib.send(mail, hostname=host, port=port, start_tls=False)
        assert stand_in.unlike({order_id, "other"}) == {"other"}
        await stand_in.gate.shut()
        with pytest.raises(aiosmtplib.SMTPConnectError):
            await aiosmtplib.send(mail, hostname=host, port=port, start_tls=False)
    finally:
        await stand_in.stop()
        await asyncio.sleep(0)


async def test_who_is_notified_is_our_own_service_behind_a_gate() -> None:
    """Its books are the audit's."""
    stand_in: StandIn = StandInNotified()
    await stand_in.start(20_000)
    try:
        given = stand_in.environment({"NOTIFY_URL": "http://other", "NOTIFY_TOKEN": "kept"})
        assert given["NOTIFY_URL"] == f"http://127.0.0.1:{stand_in.gate.port}"
        assert given["NOTIFY_TOKEN"] == "kept"  # noqa: S105 - a word
        assert stand_in.gate.behind == 20_004
    finally:
        await stand_in.stop()


def test_a_target_that_nobody_stands_for_is_refused() -> None:
    """A blueprint of somebody else's may call whom we do not know."""
    with pytest.raises(ConfigurationError, match=r"stand for a bank.*--outage-seconds 0"):
        stand_in_for(OutsideTarget("a bank", caller=2))
