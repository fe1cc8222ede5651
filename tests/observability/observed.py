"""A platform at work and the Prometheus that scrapes it, as both logs' tests open them."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.acceptance.processes import free_port_base, wait_for
from tests.acceptance.stages import CHOREOGRAPHY
from tests.faults.site import opened
from tests.observability import prometheus as real
from tests.observability.files import SERVED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.stages import Stage
    from tests.faults.site import Site
    from tests.observability.prometheus import Prometheus

SCRAPES = 5
"""Behind so many there is something to look at."""


@contextmanager
def at_work(
    directory: Path,
    provisioned_data: Path,
    *,
    orders: int,
    until: str,
    stage: Stage = CHOREOGRAPHY,
    **environment: str,
) -> Iterator[Site]:
    """A service each, a PostgreSQL that the test may stop, orders until one counts as `until`."""
    directory.mkdir(mode=0o711)
    data = directory / "data"
    stage.copy(provisioned_data, data)
    told = {**stage.environment, **environment}
    with opened(data, port_base=free_port_base(), environment=told, stage=stage) as site:
        with site.ordering():
            site.accept(orders)
            wait_for(lambda: site.figure("order", until), 60, f"one more of {until}")
        yield site
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def scraped(site: Site, directory: Path) -> Iterator[Prometheus]:
    """Prometheus, scraping each service where it runs, when it has something to look at."""

    def target(host: str, _port: int) -> str:
        name = host.removesuffix("-service")
        return urlsplit(site.url(name)).netloc

    with real.running(directory, target, SERVED / f"{site.stage.name}.yml") as running:
        with site.ordering():
            wait_for(lambda: running.ran() > SCRAPES, 60, "some scrapes")
        yield running
