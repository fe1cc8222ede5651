"""Settings of Kafka come from KAFKA_* variables, hide their secrets and refuse what cannot work."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from waybill.messaging.adapters.kafka.producer import producer_properties
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import ConfigurationError

BROKERS = {"KAFKA_BROKERS": "a:9092,b:9092"}


def given(**more: str) -> KafkaSettings:
    """The settings that the variables give."""
    settings = KafkaSettings.from_environment({**BROKERS, **more})
    assert settings is not None
    return settings


def test_without_a_broker_there_is_no_kafka() -> None:
    """One machine needs none; an empty variable is none either."""
    assert KafkaSettings.from_environment({"KAFKA_SASL_USERNAME": "me"}) is None
    assert KafkaSettings.from_environment({"KAFKA_BROKERS": ""}) is None


@pytest.mark.parametrize("name", ["KAFKA_BOOTSTRAP_SERVERS", "SPRING_KAFKA_BOOTSTRAP_SERVERS"])
def test_other_documented_names_of_the_brokers(name: str) -> None:
    """Those of the seeds' own configuration."""
    settings = KafkaSettings.from_environment({name: "a:1"})
    assert settings is not None
    assert settings.brokers == "a:1"


def test_concurrency_has_the_documents_name_too() -> None:
    """Contracts 1.7; ours wins, and a process is never more members than a topic has partitions."""
    documented = {"SPRING_KAFKA_LISTENER_CONCURRENCY": "3"}
    assert given().members == 1
    assert given(**documented).members == 3
    assert given(**documented, KAFKA_CONCURRENCY="2").members == 2
    assert given(**documented, KAFKA_PARTITIONS="1").members == 1
    with pytest.raises(ConfigurationError, match="SPRING_KAFKA_LISTENER_CONCURRENCY"):
        given(SPRING_KAFKA_LISTENER_CONCURRENCY="many")
    with pytest.raises(ConfigurationError, match="KAFKA_CONCURRENCY"):
        given(KAFKA_CONCURRENCY="0")


def test_each_variable_reaches_the_client() -> None:
    """TLS and SASL as the brokers want them, numbers as numbers, the rest passed through."""
    settings = given(
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
        KAFKA_SASL_USERNAME="me",
        KAFKA_SSL_CA_LOCATION="/ca.pem",
        KAFKA_SSL_CERTIFICATE_LOCATION="/cert.pem",
        KAFKA_SSL_KEY_LOCATION="/key.pem",
        KAFKA_LINGER_MILLISECONDS="0.5",
        KAFKA_PARTITIONS="12",
        KAFKA_LIBRDKAFKA_SSL_CIPHER_SUITES="hidden-3",
        KAFKA_SASL_PASSWORD="hidden-1",  # noqa: S106 - the test's own
        KAFKA_SSL_KEY_PASSWORD="hidden-2",  # noqa: S106 - the test's own
    )
    told = producer_properties(settings, gapless=True)
    assert told["security.protocol"] == "SASL_SSL"
    assert told["sasl.mechanism"] == "SCRAM-SHA-512"
    assert told["sasl.password"] == "hidden-1"
    assert told["ssl.key.password"] == "hidden-2"
    assert told["ssl.cipher.suites"] == "hidden-3"
    assert told["linger.ms"] == 0.5
    assert told["message.timeout.ms"] == 0
    assert settings.partitions == 12
    assert "hidden" not in repr(settings)


def test_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """As containers are given one."""
    secret = tmp_path / "secret"
    secret.write_text("hidden\n")
    assert producer_properties(
        given(KAFKA_SASL_PASSWORD_FILE=str(secret)), gapless=True
    ).items() >= {("sasl.password", "hidden")}
    with pytest.raises(ConfigurationError, match="KAFKA_SASL_PASSWORD_FILE cannot be read"):
        given(KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("KAFKA_PARTITIONS", "many", "not a number"),
        ("KAFKA_PARTITIONS", "0", "at least 1"),
        ("KAFKA_GROUP_PROTOCOL", "eager", "auto, consumer, classic"),
        ("KAFKA_HEARTBEAT_SECONDS", "5", "a third"),
        ("KAFKA_LIBRDKAFKA_ACKS", "1", "position"),
        ("KAFKA_LIBRDKAFKA_MESSAGE_TIMEOUT_MS", "3000", "protocol L2"),
        ("KAFKA_LIBRDKAFKA_ENABLE_AUTO_COMMIT", "true", "protocol C15"),
    ],
)
def test_value_that_cannot_work_is_refused_at_start(name: str, value: str, why: str) -> None:
    """The error names the variable's value and what it would break."""
    with pytest.raises(ConfigurationError, match=why):
        given(**{name: value})


def test_every_setting_is_documented_with_its_default() -> None:
    """docs/library/kafka.md has a row for each variable, and none that is not there."""
    page = (Path(__file__).parents[2] / "docs/library/kafka.md").read_text()
    table = page.partition("## Settings")[2].partition("## What is not promised")[0]
    rows = "\n".join(line for line in table.splitlines() if line.startswith("| `"))
    known = {f"KAFKA_{each.name.upper()}" for each in fields(KafkaSettings)} - {"KAFKA_PROPERTIES"}
    assert set(re.findall(r"KAFKA_\w+", rows)) == known
