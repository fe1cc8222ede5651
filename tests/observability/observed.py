"""A platform at work and the Prometheus that scrapes it, as both logs' tests open them."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.acceptance.processes import OFFSETS, free_port_base, wait_for
from tests.faults.site import opened
from tests.observability import prometheus as real

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.site import Site
    from tests.observability.prometheus import Prometheus

SCRAPES = 5
"""Behind so many there is something to look at."""


@contextmanager
def at_work(
    directory: Path, provisioned_data: Path, *, orders: int, until: str, **environment: str
) -> Iterator[Site]:
    """Four services, a PostgreSQL that the test may stop, orders until one counts as `until`."""
    directory.mkdir(mode=0o711)
    subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
    base = free_port_base()
    with opened(directory / "data", port_base=base, environment=environment) as site:
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
        return urlsplit(site.services[name].url(OFFSETS[name])).netloc

    with real.running(directory, target) as running:
        with site.ordering():
            wait_for(lambda: running.ran() > SCRAPES, 60, "some scrapes")
        yield running
