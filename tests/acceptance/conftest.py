"""Platforms as fixtures; see processes.py."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiosmtpd.controller import Controller
from tests.acceptance.outside import Mailbox
from tests.acceptance.processes import PlatformProcess, free_port_base
from tests.redis_server import RedisServer

from waybill.blueprints.catalogue import blueprint_named, with_payment
from waybill.platform.chosen import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    NewPlatform = Callable[..., AbstractContextManager[PlatformProcess]]


@pytest.fixture(scope="session")
def new_platform(session_directory: Path, provisioned_data: Path) -> NewPlatform:
    """Environment variables in, a context with a platform (not started) on fresh data out.

    The data are of the blueprint that they name: on them nothing was ever ordered.
    """

    @contextmanager
    def make(**environment: str) -> Iterator[PlatformProcess]:
        # A name of its own: other directories of tests have this fixture, too.
        directory = Path(tempfile.mkdtemp(prefix="platform-", dir=session_directory))
        directory.chmod(0o711)
        subprocess.run(["cp", "-a", provisioned_data, directory / "data"], check=True)
        if "WAYBILL_BLUEPRINT" in environment:
            named = blueprint_named(environment["WAYBILL_BLUEPRINT"])
            blueprint = with_payment(named) if "WAYBILL_PAYMENT_STEP" in environment else named
            (directory / "data" / FILE).write_text(f"{blueprint.name}\n")
        platform = PlatformProcess(
            directory / "data", port_base=free_port_base(), environment=environment
        )
        try:
            yield platform
        finally:
            platform.close()
            shutil.rmtree(directory, ignore_errors=True)

    return make


@pytest.fixture
def make_platform(new_platform: NewPlatform) -> Iterator[Callable[..., PlatformProcess]]:
    """A factory: environment variables in, a platform (not started) of this test alone out."""
    with ExitStack() as made:
        yield lambda **environment: made.enter_context(new_platform(**environment))


@pytest.fixture
def platform(make_platform: Callable[..., PlatformProcess]) -> PlatformProcess:
    """A running platform of this test alone, whose payments always succeed."""
    return make_platform(PAYMENT_SIMULATE_FORCEOUTCOME="success").start()


@pytest.fixture(scope="session")
def shared_platform(new_platform: NewPlatform) -> Iterator[PlatformProcess]:
    """One running platform for all tests that only use it; payments always succeed."""
    with new_platform(PAYMENT_SIMULATE_FORCEOUTCOME="success") as platform:
        yield platform.start()


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    """A mail server without TLS, in a thread."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    with warnings.catch_warnings(action="ignore"):  # it may do without TLS
        controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def redis_server(session_directory: Path) -> Iterator[RedisServer]:
    """One for all tests here; each leaves it running."""
    server = RedisServer(session_directory)
    server.start()
    yield server
    server.kill()
