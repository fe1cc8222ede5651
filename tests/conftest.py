"""What tests of every part share: one PostgreSQL a session, a fresh database a test; their order.

Databases are copied from templates, which costs some 30 ms; the server is the one that users run.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import shutil
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests import environment
from tests.acceptance.processes import PlatformProcess, free_port_base
from tests.mariadb import ENGINES, Databases, never_skipped, running_mariadb, server_url
from tests.sharing import meeting_place, shared

from waybill.commerce.migrations import migrate as commerce
from waybill.messaging.adapters.postgres.migrate import upgrade
from waybill.platform.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterator, Mapping

assert environment.given_brokers is not None  # imported first: it clears KAFKA_BROKERS away
ROOT = Path(__file__).parents[1]
LONGEST_FIRST = (
    "tests/acceptance/test_crash_points.py",
    "tests/faults",
    "tests/races",
    "tests/state_machine",
    "tests/acceptance",
    "tests/kafka",
    "tests/observability",
    "tests/operations",
    "tests/contracts",
    "tests/architecture",
    "tests/platform",
)
"""Workers take a file at a time: behind these come short ones, with which they end together."""
assert all((ROOT / name).exists() for name in LONGEST_FIRST)
MEMORY = Path("/dev/shm")  # noqa: S108 - a private directory is made in it
MEMORY_BYTES_NEEDED = 4_000_000_000


def pytest_collection_finish() -> None:
    """What there is by now stays: Python need not look for cycles in it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long file that begins last would keep one worker busy, and the others waiting."""
    items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    turns = (turn for turn, name in enumerate(LONGEST_FIRST) if nodeid.startswith(name))
    return next(turns, len(LONGEST_FIRST))


class TestDatabases:
    """Makes databases on one server, from an event loop of its own."""

    __test__ = False

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection: asyncpg.Connection = self.run(asyncpg.connect(server.url()))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever work returns
        """Wait for `work` from code that has no event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def template(self, name: str) -> str:
        """A new empty database to migrate and copy from; its URL."""
        self.run(self._connection.execute(f'CREATE DATABASE "{name}"'))
        return self.server.url(name)

    def copy(self, template: str) -> str:
        """The name of a fresh copy of a template that nobody is connected to."""
        name = f"{template}_{next(self._numbers)}"
        copying = f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'
        self.run(self._connection.execute(copying))
        return name

    def drop(self, name: str) -> None:
        """Drop a copy, whoever is still connected to it."""
        self.run(self._connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def close(self) -> None:
        """End the loop and its connection."""
        self.run(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    """A directory that the server's own user can enter; in memory if there is room."""
    roomy = MEMORY.exists() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_NEEDED
    directory = Path(tempfile.mkdtemp(prefix="waybill-", dir=MEMORY if roomy else None))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def provisioned_data(
    session_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The data of a platform that was started once and stopped: a copy saves initdb."""
    place = meeting_place(tmp_path_factory) / "provisioned-data"
    with shared(place, lambda: _provisioned(session_directory)) as data:
        yield Path(data)


@contextmanager
def _provisioned(parent: Path) -> Iterator[str]:
    directory = Path(tempfile.mkdtemp(prefix="provisioned-", dir=parent))
    directory.chmod(0o711)
    platform = PlatformProcess(directory / "data", port_base=free_port_base(), environment={})
    platform.start()
    assert platform.stop() == 0
    platform.close()
    yield str(platform.data)


@pytest.fixture
def data_directory(session_directory: Path) -> Iterator[Path]:
    """A data directory (not made yet) for a platform of this test alone."""
    directory = Path(tempfile.mkdtemp(dir=session_directory))
    directory.chmod(0o711)
    yield directory / "data"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(session_directory: Path) -> Iterator[EmbeddedPostgres]:
    """One running server for the whole session. Tests that hurt a server start their own."""
    with EmbeddedPostgres(session_directory / "postgres-of-the-session") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_url(session_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Superuser's URL of one running MariaDB for the whole run. It is not there: tests fail."""
    place = meeting_place(tmp_path_factory) / "mariadb-of-the-run"
    directory = session_directory / "mariadb-of-the-run"
    with shared(place, lambda: running_mariadb(directory)) as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What must not be skipped has failed if it was."""
    report = yield
    never_skipped(item, report)
    return report


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Iterator[TestDatabases]:
    """Copies of templates on the session's server."""
    made = TestDatabases(postgres)
    yield made
    made.close()


@pytest.fixture(scope="session")
def messaging_template(databases: TestDatabases) -> str:
    """The name of a database that has the messaging schema and nothing else."""
    databases.run(upgrade(databases.template("messaging_template")))
    return "messaging_template"


@pytest.fixture
def messaging_database(databases: TestDatabases, messaging_template: str) -> Iterator[str]:
    """The superuser's URL of a fresh database that has the messaging schema."""
    name = databases.copy(messaging_template)
    yield databases.server.url(name)
    databases.drop(name)


@pytest.fixture(params=ENGINES)
def either_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The superuser's URL of a fresh database on each engine, for messaging's tables."""
    if request.param == "postgresql":
        yield request.getfixturevalue("messaging_database")
        return
    others = Databases(server_url(request, request.param))
    url = asyncio.run(others.make())
    yield url
    asyncio.run(others.drop(url))


@pytest.fixture
def second_messaging_database(databases: TestDatabases, messaging_template: str) -> Iterator[str]:
    """Another one, for tests with a producer and a consumer."""
    name = databases.copy(messaging_template)
    yield databases.server.url(name)
    databases.drop(name)


class ServiceDatabases(dict[str, str]):
    """Superuser's URLs by service, each database copied when it is first asked for."""

    def __init__(self, databases: TestDatabases, templates: Mapping[str, str]) -> None:
        super().__init__()
        self._databases = databases
        self._templates = templates
        self._names: list[str] = []

    def __missing__(self, service: str) -> str:
        self._names.append(self._databases.copy(self._templates[service]))
        self[service] = self._databases.server.url(self._names[-1])
        return self[service]

    def drop(self) -> None:
        """Drop the copies."""
        for name in self._names:
            self._databases.drop(name)


class ServiceTemplates(dict[str, str]):
    """Templates with messaging and one service's tables, migrated when first asked for."""

    def __init__(self, databases: TestDatabases) -> None:
        super().__init__()
        self._databases = databases

    def __missing__(self, service: str) -> str:
        url = self._databases.template(f"{service}_template")
        self._databases.run(upgrade(url))
        self._databases.run(commerce.upgrade(url, service))
        self[service] = f"{service}_template"
        return self[service]


@pytest.fixture(scope="session")
def service_templates(databases: TestDatabases) -> ServiceTemplates:
    """Template databases by service: order, inventory, payment, notification, provider."""
    return ServiceTemplates(databases)


@pytest.fixture
def service_databases(
    databases: TestDatabases, service_templates: ServiceTemplates
) -> Iterator[ServiceDatabases]:
    """`service_databases["order"]` is the superuser's URL of a fresh order database, and so on."""
    fresh = ServiceDatabases(databases, service_templates)
    yield fresh
    fresh.drop()
