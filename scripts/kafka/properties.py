"""What one broker is told: listeners, limits and the short group timeouts of development."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER, PASSWORD = "waybill", "waybill-secret"
HOST = "127.0.0.1"
_SECURITY = "org.apache.kafka.common.security"

FIXED = """\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
num.partitions=6
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=2000
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
"""
"""Work of a killed consumer moves within 10 seconds; topics are made by whoever declares them."""


@dataclass(frozen=True)
class Listeners:
    """Ports by security protocol (PLAINTEXT always), and the certificate of those with TLS."""

    ports: Mapping[str, int]
    controller_port: int
    certificate: Path | None = None
    """A file with private key and certificate (PEM)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """More of the broker's properties, which win over ours."""

    def address(self, protocol: str = "PLAINTEXT") -> str:
        """Where a client of that protocol connects."""
        return f"{HOST}:{self.ports[protocol]}"


def properties(listeners: Listeners, data: Path) -> str:
    """The text of server.properties."""
    controller = f"{HOST}:{listeners.controller_port}"
    advertised = [f"{name}://{listeners.address(name)}" for name in listeners.ports]
    names = ("CONTROLLER:PLAINTEXT", *(f"{name}:{name}" for name in listeners.ports))
    lines = [
        f"controller.quorum.voters=1@{controller}",
        f"listeners={','.join([*advertised, f'CONTROLLER://{controller}'])}",
        f"advertised.listeners={','.join(advertised)}",
        f"listener.security.protocol.map={','.join(names)}",
        f"log.dirs={data}",
    ]
    for name in listeners.ports:
        if name.startswith("SASL_"):
            lines += _sasl(name)
    if listeners.certificate is not None:
        lines += ["ssl.keystore.type=PEM", f"ssl.keystore.location={listeners.certificate}"]
    lines += [f"{name}={value}" for name, value in listeners.settings.items()]
    return FIXED + "\n".join(lines) + "\n"


def _sasl(listener: str) -> list[str]:
    prefix = f"listener.name.{listener.lower()}"
    plain = f'{_SECURITY}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    scram = f"{_SECURITY}.scram.ScramLoginModule required;"
    return [
        f"{prefix}.plain.sasl.jaas.config={plain}",
        f"{prefix}.scram-sha-256.sasl.jaas.config={scram}",
    ]
