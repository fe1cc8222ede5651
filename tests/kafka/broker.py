"""A real broker for tests, on free ports, with security listeners where a test asks for them."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.kafka import machine
from scripts.kafka.properties import HOST, PASSWORD, USER, Listeners
from scripts.kafka.server import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["PASSWORD", "USER", "Broker", "OtherBroker", "certificate_of", "running_broker"]

_PORTS = range(12000, 20000)
_taken: set[int] = set()


@dataclass(frozen=True)
class OtherBroker:
    """A broker that somebody else runs, named by KAFKA_BROKERS."""

    bootstrap: str


@contextmanager
def running_broker(
    directory: Path,
    *,
    listeners: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    up: bool = True,
) -> Iterator[Broker]:
    """A broker that is `up`, with a PLAINTEXT listener and those named (SASL_PLAINTEXT, SSL …).

    `listeners.address("SSL")` of it says where; the certificate is `certificate_of(directory)`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    secured = any(name.endswith("SSL") for name in listeners)
    broker = Broker(
        directory,
        Listeners(
            ports={name: free_port() for name in ("PLAINTEXT", *listeners)},
            controller_port=free_port(),
            certificate=_with_key(directory) if secured else None,
            settings=settings or {},
        ),
    )
    try:
        if up:
            broker.start()
        yield broker
    finally:
        broker.kill()  # its data are dropped anyway


def free_port() -> int:
    """A port below those that the kernel gives to clients, so that a restart finds it free."""
    start = os.getpid() * 50 % len(_PORTS)
    for offset in range(len(_PORTS)):
        port: int = _PORTS[(start + offset) % len(_PORTS)]
        if port in _taken:
            continue
        with closing(socket.socket()) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise RuntimeError("no free port")


def certificate_of(directory: Path) -> Path:
    """The certificate that a client of that broker trusts."""
    return directory / "certificate.pem"


def _with_key(directory: Path) -> Path:
    key, both = directory / "key.pem", directory / "keystore.pem"
    command = [
        *(machine.program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
        *("-days", "2", "-subj", "/CN=localhost", "-addext"),
        *(f"subjectAltName=DNS:localhost,IP:{HOST}", "-keyout", str(key)),
        *("-out", str(certificate_of(directory))),
    ]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + certificate_of(directory).read_text())
    return both
