"""Every secret may come from a file, is refused if everybody tries it first, and never shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from waybill.commerce.caching.settings import RedisSettings
from waybill.commerce.notifications.smtp import SmtpSettings
from waybill.commerce.payments.outside import ProviderSettings
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.messaging.secret import BYTES_MAX, SAMPLES
from waybill.platform import discovery, edge_settings, notifying
from waybill.platform.own_databases import KNOWN, OwnDatabases, password_variable, roles_of
from waybill.platform.own_server import Administrator

Read = Callable[[Mapping[str, str]], object]
SECRET = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
"""Fits every one of them, that of webhooks too."""


def databases(given: Mapping[str, str]) -> object:
    """The passwords of databases of one's own."""
    return OwnDatabases.from_environment({"POSTGRES_HOST": "db.test", **given})


def kafka(given: Mapping[str, str]) -> object:
    """What its clients are told."""
    settings = KafkaSettings.from_environment({"KAFKA_BROKERS": "kafka.test:9092", **given})
    assert settings is not None
    return asdict(settings)


def provider(given: Mapping[str, str]) -> object:
    """The payment provider's token, and its webhooks' secrets."""
    settings = ProviderSettings.from_environment(
        {"PAYMENT_PROVIDER_URL": "https://pay.test", **given}
    )
    assert settings is not None
    assert settings.client is not None
    return settings.client.token, settings.webhooks and settings.webhooks.secrets


def mail(given: Mapping[str, str]) -> object:
    """The mail server's password."""
    where = {"SMTP_HOST": "mail.test", "FROM_EMAIL": "a@b.test"}
    settings = SmtpSettings.from_environment({**where, **given})
    assert settings is not None
    return settings.password


def cache(given: Mapping[str, str]) -> object:
    """The cache's password."""
    settings = RedisSettings.from_environment({"REDIS_HOST": "cache.test", **given})
    assert settings is not None
    return settings.url


def administrator(given: Mapping[str, str]) -> object:
    """Who makes roles on a server of one's own."""
    on_mysql = any(name.startswith("MYSQL") for name in given)
    names = {"POSTGRES_USER": "a", "MYSQL_USER": "a"}
    return Administrator.from_environment({**names, **given}, on_mysql=on_mysql).password


EVERY: dict[str, Read] = {
    **{password_variable(role): databases for name in KNOWN for role in roles_of(name)},
    "POSTGRES_PASSWORD": administrator,
    "MYSQL_PASSWORD": administrator,
    "KAFKA_SASL_PASSWORD": kafka,
    "KAFKA_SSL_KEY_PASSWORD": kafka,
    "PAYMENT_PROVIDER_TOKEN": provider,
    "PAYMENT_WEBHOOK_SECRETS": provider,
    "REDIS_PASSWORD": cache,
    "SMTP_PASSWORD": mail,
}


@pytest.fixture(params=sorted({*EVERY, "SERVICES_TOKEN", "NOTIFY_TOKEN", "REGISTRY_PASSWORD"}))
def variable(request: pytest.FixtureRequest) -> str:
    """The name of a secret."""
    name: str = request.param
    return name


@pytest.fixture
def read(variable: str, monkeypatch: pytest.MonkeyPatch) -> Read:
    """What a start makes of these variables, as text."""
    from_process: dict[str, Callable[[], object]] = {
        "SERVICES_TOKEN": lambda: edge_settings.services_token(OwnDatabases({}, {})),
        "NOTIFY_TOKEN": notifying._token,
        "REGISTRY_PASSWORD": discovery.registry_password,
    }

    def reading(given: Mapping[str, str]) -> object:
        if variable in EVERY:
            return EVERY[variable](given)
        for name in (variable, f"{variable}_FILE"):
            monkeypatch.delenv(name, raising=False)
        for name, text in given.items():
            monkeypatch.setenv(name, text)
        return from_process[variable]()

    return reading


def text(found: object) -> str:
    """All that was read; a settings object of databases hides its passwords."""
    return str(found.passwords) if isinstance(found, OwnDatabases) else str(found)


def test_it_comes_from_its_variable_or_from_a_file(
    variable: str, read: Read, tmp_path: Path
) -> None:
    """As secret managers mount them: the newline at the end is no part of it."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    by_variable = text(read({variable: SECRET}))
    assert SECRET in by_variable
    assert text(read({f"{variable}_FILE": str(file)})) == by_variable
    file.write_bytes(f"{SECRET}\r\n".encode())
    assert text(read({f"{variable}_FILE": str(file)})) == by_variable


def test_both_are_one_too_many(variable: str, read: Read, tmp_path: Path) -> None:
    """Nobody must guess which of them counts."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with pytest.raises(ConfigurationError, match=f"{variable} and {variable}_FILE are both set"):
        read({variable: SECRET, f"{variable}_FILE": str(file)})


def test_a_file_that_will_not_do_is_told_by_the_variable_alone(
    variable: str, read: Read, tmp_path: Path
) -> None:
    """Missing, no text, empty, too long; nothing of it is shown, and no path, which may be it."""
    broken = tmp_path / "broken"
    broken.write_bytes(f"{SECRET}\xff".encode("latin-1"))
    empty = tmp_path / "empty"
    empty.write_text("\n")
    long = tmp_path / "long"
    long.write_text(SECRET * BYTES_MAX)
    for path, why in (
        (SECRET, "cannot be read: No such file"),
        (str(tmp_path), "cannot be read: Is a directory"),
        (str(broken), "cannot be read: it is not text"),
        (str(empty), "names a file that holds nothing"),
        (str(long), f"names a file of more than {BYTES_MAX} bytes"),
    ):
        with pytest.raises(ConfigurationError, match=f"{variable}_FILE {why}") as refused:
            read({f"{variable}_FILE": path})
        assert SECRET not in str(refused.value)
        assert "\n" not in str(refused.value)
        assert refused.value.__cause__ is None


def test_a_sample_is_refused(variable: str, read: Read, tmp_path: Path) -> None:
    """What documents and images have in its place; from a file as well."""
    file = tmp_path / "secret"
    file.write_text("Password\n")
    for given in ({variable: "changeme"}, {f"{variable}_FILE": str(file)}):
        with pytest.raises(ConfigurationError, match=f"{variable} is a password that everybody"):
            read(given)
    assert {"changeme", "platform", "postgres", "secret"} <= SAMPLES


def test_a_sample_inside_a_url_is_refused() -> None:
    """The one secret that may stand in a URL is looked at there."""
    with pytest.raises(ConfigurationError, match="REDIS_URL holds a password that everybody"):
        RedisSettings.from_environment({"REDIS_URL": "redis://:changeme@cache.test:6379/0"})


def test_what_the_example_holds_starts_nothing() -> None:
    """.env.example has no secret in it: whoever copies it must make them."""
    root = Path(__file__).parents[2]
    lines = (root / ".env.example").read_text().splitlines()
    secrets = [line for line in lines if "PASSWORD=" in line or "TOKEN=" in line]
    assert secrets
    assert all(line.endswith("=") for line in secrets)
