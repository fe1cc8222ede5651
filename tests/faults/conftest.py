"""Platforms under faults as fixtures, and the shards of `make test-faults`."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.acceptance.processes import free_port_base
from tests.acceptance.stages import CHOREOGRAPHY
from tests.faults.brokers import running_kafka
from tests.faults.neighbours import NEIGHBOURS, introduce, nobody
from tests.faults.site import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.stages import Stage
    from tests.faults.site import Site

WHOLE = ("long", "both")
"""Marks of what `make test-faults` runs."""
IN_THE_WHOLE = pytest.StashKey[dict[str, bool]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shard 2/3`: the second third of the tests."""
    parser.addoption("--shard", default="1/1", help="part/parts of the tests, as in 2/3")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Remember which faults the whole of them has, by a longer variant or as they are."""
    has = any(item.get_closest_marker(name) for name in WHOLE)
    function = item.nodeid.partition("[")[0]
    found = item.config.stash.setdefault(IN_THE_WHOLE, {})
    found[function] = found.get(function, False) or has


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the tests out to the shards in turns, so that each has some of every kind."""
    if config.getoption("markexpr") == " or ".join(WHOLE):
        missing = [name for name, has in config.stash.get(IN_THE_WHOLE, {}).items() if not has]
        if missing:
            raise pytest.UsageError(f"mark it long or both, in one variant: {missing}")
    part, parts = (int(number) for number in config.getoption("shard", "1/1").split("/"))
    if parts == 1:
        return
    kept = items[part - 1 :: parts]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="module", params=["direct", pytest.param("kafka", marks=pytest.mark.long)])
def site(
    request: pytest.FixtureRequest, session_directory: Path, provisioned_data: Path
) -> Iterator[Site]:
    """One platform for the faults of a file, on either log; each fault leaves it well."""
    with new_site(session_directory, provisioned_data, log=request.param) as made:
        yield made


@pytest.fixture(scope="module")
def kafka_site(session_directory: Path, provisioned_data: Path) -> Iterator[Site]:
    """One platform on Kafka for the faults of a file; each fault leaves it well."""
    with new_site(session_directory, provisioned_data, log="kafka") as made:
        yield made


@contextmanager
def new_site(
    parent: Path,
    provisioned_data: Path,
    *,
    log: str,
    stage: Stage | None = None,
    alone: bool = False,
) -> Iterator[Site]:
    """A platform on fresh data; on Kafka with a broker of its own behind a proxy.

    Of this blueprint, with everybody whom that has outside unless it is to be `alone`; by default
    the usual one alone.
    """
    directory = Path(tempfile.mkdtemp(prefix="under-faults-", dir=parent))
    directory.chmod(0o711)
    data = directory / "data"
    (stage or CHOREOGRAPHY).copy(provisioned_data, data)
    with ExitStack() as stack:
        outside = nobody if stage is None or alone else NEIGHBOURS[stage.name]
        around = stack.enter_context(outside(directory))
        environment, kafka = dict(stage.environment if stage is not None else {}), None
        for neighbour in around.values():
            environment |= neighbour.environment
        if log == "kafka":
            kafka = stack.enter_context(running_kafka(directory / "kafka"))
            environment["KAFKA_BROKERS"] = kafka.address
        site = stack.enter_context(
            opened(
                data,
                port_base=free_port_base(),
                environment=environment,
                kafka=kafka,
                stage=stage or CHOREOGRAPHY,
            )
        )
        site.neighbours.update(around)
        if around:
            introduce(site)
        yield site
    shutil.rmtree(directory, ignore_errors=True)
