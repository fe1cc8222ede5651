"""What the clients of Kafka are told: where the brokers are, who we are, and every limit.

Each field is the variable `KAFKA_` + its name in capitals. A secret is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.secret import secret_of, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "KAFKA_"
THROUGH_PREFIX = "KAFKA_LIBRDKAFKA_"
"""`KAFKA_LIBRDKAFKA_SSL_CIPHER_SUITES` is librdkafka's `ssl.cipher.suites`."""

_BROKER_NAMES = ("KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS", "SPRING_KAFKA_BOOTSTRAP_SERVERS")

_DOCUMENTED = {"concurrency": "SPRING_KAFKA_LISTENER_CONCURRENCY"}
"""Other names, which the documents use (contracts 1.7)."""

_OURS = {
    "acks": "acknowledgement by every replica is what the relay's position stands for",
    "enable.idempotence": "without it a retry changes the order (protocol L2)",
    "enable.gapless.guarantee": "without it records go past one that failed (protocol L4)",
    "message.timeout.ms": "a record that expires lets the next one pass (protocol L2)",
    "delivery.timeout.ms": "a record that expires lets the next one pass (protocol L2)",
    "partitioner": "other clients find a key's partition by murmur2",
    "transactional.id": "effects once come from the inbox, not from transactions",
    "enable.auto.commit": "offsets follow the database's commit (protocol C15)",
    "enable.auto.offset.store": "offsets follow the database's commit (protocol C15)",
    "auto.offset.reset": "a consumer starts where its database says (protocol C15)",
    "group.id": "the consumer's id is its group",
}


@dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """Limits and addresses of one service's Kafka clients, each with its unit."""

    brokers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = field(default="", repr=False)
    ssl_ca_location: str = ""
    ssl_certificate_location: str = ""
    ssl_key_location: str = ""
    ssl_key_password: str = field(default="", repr=False)
    ssl_endpoint_identification_algorithm: str = "https"
    client_id: str = "waybill"
    request_timeout_seconds: float = 10.0

    partitions: int = 6
    """Of every topic: changing it later would move keys to other partitions (protocol C11)."""
    replication_factor: int = -1
    """-1 is the broker's default."""
    retention_seconds: float = 7 * 86_400.0
    record_bytes_max: int = 1_000_000
    """As the topics are created, and what the writer takes."""

    linger_milliseconds: float = 0.0
    compression: str = "none"
    in_flight_records_max: int = 10_000
    in_flight_bytes_max: int = 32 * 1024 * 1024

    concurrency: int = 1
    """Members of its group that each consumer runs in one process, see `members`."""
    group_protocol: str = "auto"
    """`consumer` (KIP-848), `classic` (cooperative-sticky), or `auto`: the first if it is there."""
    session_timeout_seconds: float = 10.0
    """Of the classic protocol; the other one's stands in the broker's settings."""
    heartbeat_seconds: float = 3.0
    poll_seconds: float = 1.0
    poll_interval_seconds_max: float = 300.0
    poll_records_max: int = 500
    prefetch_bytes_max: int = 16 * 1024 * 1024
    prefetch_records_max: int = 10_000
    fetch_wait_milliseconds: int = 500
    """How long a broker keeps a fetch that finds nothing; a new record ends it at once."""
    fetch_queue_backoff_milliseconds: int = 10
    pause_after_seconds: float = 1.0
    """Nobody takes records for so long: pause, and go on polling as a member of the group."""
    commit_interval_seconds: float = 0.5
    revoke_wait_seconds: float = 3.0
    """How long a rebalance waits for the unit in work before it is abandoned."""
    close_seconds_max: float = 4.0
    """A group that cannot be left by then, since no broker answers, is left to its session."""

    properties: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Any other property of librdkafka, as it is; it may hold secrets."""

    def __post_init__(self) -> None:
        if not self.brokers.strip():
            raise ConfigurationError("KAFKA_BROKERS names no broker: give host:port,host:port")
        for name, reason in _OURS.items():
            if name in self.properties:
                raise ConfigurationError(f"{name} cannot be set: {reason}")
        if self.group_protocol not in {"auto", "consumer", "classic"}:
            raise ConfigurationError(
                f"KAFKA_GROUP_PROTOCOL is {self.group_protocol!r}: "
                "it is one of auto, consumer, classic"
            )
        for name in ("partitions", "concurrency", "poll_records_max", "in_flight_records_max"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{PREFIX}{name.upper()} must be at least 1")
        if self.heartbeat_seconds * 3 > self.session_timeout_seconds:
            raise ConfigurationError(
                "KAFKA_HEARTBEAT_SECONDS must be at most a third of KAFKA_SESSION_TIMEOUT_SECONDS"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> KafkaSettings | None:
        """The settings that these variables give; None if none of them names a broker.

        `KAFKA_SASL_PASSWORD_FILE` and the like name a file that holds the value. Raises
        ConfigurationError for a value that is not of its kind.
        """
        brokers = next((environment[name] for name in _BROKER_NAMES if environment.get(name)), "")
        if not brokers:
            return None
        values: dict[str, Any] = {"brokers": brokers}
        for each in fields(cls):
            if each.name not in {"brokers", "properties"}:
                name, text = _given(environment, each.name, hidden=not each.repr)
                if text:
                    values[each.name] = _converted(name, text, type(each.default))
        values["properties"] = {
            name.removeprefix(THROUGH_PREFIX).lower().replace("_", "."): value
            for name, value in environment.items()
            if name.startswith(THROUGH_PREFIX)
        }
        return cls(**values)

    @property
    def members(self) -> int:
        """How many members of a group run in one process: more than partitions would idle."""
        return min(self.concurrency, self.partitions)

    def client(self) -> dict[str, Any]:
        """What every client of librdkafka is told, secrets included: never log it."""
        given: dict[str, Any] = {
            "bootstrap.servers": self.brokers,
            "client.id": self.client_id,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.sasl_username,
            "sasl.password": self.sasl_password,
            "ssl.ca.location": self.ssl_ca_location,
            "ssl.certificate.location": self.ssl_certificate_location,
            "ssl.key.location": self.ssl_key_location,
            "ssl.key.password": self.ssl_key_password,
        }
        set_ones = {name: value for name, value in given.items() if value}
        return {
            **set_ones,
            "ssl.endpoint.identification.algorithm": self.ssl_endpoint_identification_algorithm,
            # A broker that comes back is found within a second or two (protocol L5).
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2_000,
            "topic.metadata.refresh.fast.interval.ms": 100,
            "socket.keepalive.enable": True,
            **self.properties,
        }


def without_brokers(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables, but for those that name brokers: what starts with them runs without Kafka."""
    return {name: value for name, value in environment.items() if name not in _BROKER_NAMES}


def _given(environment: Mapping[str, str], field_name: str, *, hidden: bool) -> tuple[str, str]:
    """The variable that says it, and what it says: ours, else the documents'."""
    name = PREFIX + field_name.upper()
    text = (secret_of if hidden else value_of)(environment, name)
    other = _DOCUMENTED.get(field_name)
    return (other, environment.get(other, "")) if other and not text else (name, text)


def _converted(name: str, text: str, kind: type) -> object:
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} is {text!r}: not a number") from error
