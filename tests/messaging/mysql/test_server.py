"""The tests on MariaDB are never left out, and what is common to the engines is one text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import mariadb

from waybill.commerce.tables import by_prefix, by_schema

if TYPE_CHECKING:
    from pathlib import Path


def test_without_mariadb_the_tests_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not skip: CI cannot be green without them, and the error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mariadb, "_PLACES", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install mariadb-server"):
        mariadb.Mariadb(tmp_path / "data")


def test_a_server_that_is_named_is_tested_as_well() -> None:
    """MYSQL_URL adds it, and takes nothing away."""
    assert mariadb.servers({}) == ("mariadb",)
    assert mariadb.servers({"MYSQL_URL": "mysql://root@db/mysql"}) == ("mariadb", "mysql")


@pytest.mark.parametrize("engine", mariadb.ENGINES)
def test_a_test_of_mariadb_that_is_skipped_has_failed(
    request: pytest.FixtureRequest, engine: str
) -> None:
    """So `.ci/run` fails where somebody left them out; a test of PostgreSQL may be skipped."""
    report = pytest.TestReport("a", ("a", 1, "a"), {}, "skipped", "no server", "setup")
    mariadb.never_skipped(request.node, report)
    assert report.outcome == ("skipped" if engine == "postgresql" else "failed")


def test_names_of_tables_are_the_engines() -> None:
    """Schemas become prefixes; columns that are words of the server's own are quoted."""
    statement = "SELECT o.id, lines, key FROM app.orders o WHERE lines_seen = 'a' AND app.x = 1"
    assert by_schema(statement) == statement
    assert by_prefix(statement) == (
        "SELECT o.id, `lines`, `key` FROM app_orders o WHERE lines_seen = 'a' AND app_x = 1"
    )
