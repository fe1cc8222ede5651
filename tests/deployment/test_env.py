"""`make env`: a file with every variable, which settings load from and nothing overwrites."""

from __future__ import annotations

import re
import stat
from dataclasses import fields
from pathlib import Path

import pytest

from waybill.messaging.adapters.kafka.settings import PREFIX, KafkaSettings
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.databases import urls_of
from waybill.platform.env_file import DATABASES, lines, write
from waybill.platform.own_databases import OwnDatabases, variables
from waybill.platform.own_server import Administrator
from waybill.platform.settings import Settings, variable_of

ROOT = Path(__file__).parents[2]
SEED_004 = {
    *("KAFKA_BROKERS", "KAFKA_SECURITY_PROTOCOL", "REDIS_HOST", "REDIS_PORT"),
    *("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"),
    *("SMTP_HOST", "SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "FROM_EMAIL"),
}


def test_it_has_every_variable_of_seed_004(dot_env: dict[str, str]) -> None:
    """R269: who knows that document finds its names."""
    assert set(dot_env) >= SEED_004


def test_every_variable_of_compose_is_in_it_or_on_the_page(dot_env: dict[str, str]) -> None:
    """Whoever reads .env and docs/deployment.md knows all that can be set."""
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))
    told = set(re.findall(r"`([A-Z_]+)[`=]", (ROOT / "docs/deployment.md").read_text()))
    assert asked
    assert asked <= {*dot_env, *told}


def test_settings_load_from_it(dot_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """R268: processes without containers reach every database by it, in every role."""
    for name, text in dot_env.items():
        monkeypatch.setenv(name, text)
    Settings.load()
    own = OwnDatabases.from_environment(dot_env)
    assert own is not None
    for service in DATABASES:
        urls = urls_of(own, service)
        for url in (urls.owner, urls.service, urls.reader, urls.auditor):
            assert url.endswith(f"@localhost:5432/{service}db")
    assert Administrator.from_environment(dot_env).role == "administrator"


def test_every_secret_is_random(dot_env: dict[str, str]) -> None:
    """None is guessed from another, from the example, or from the last run."""
    secrets = [
        text for name, text in dot_env.items() if "PASSWORD" in name and name != "SMTP_PASSWORD"
    ]
    assert len(secrets) == len(set(secrets)) > 20
    assert all(re.fullmatch(r"[\w-]{32}", secret) for secret in secrets)
    assert (ROOT / ".env.example").read_text() == "\n".join(lines(str)) + "\n"


def test_it_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    """The passwords of databases that exist are not lost by a second call."""
    file = tmp_path / ".env"
    write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match="left as it is"):
        write(file)
    assert file.read_bytes() == before
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write(tmp_path / "missing" / ".env")


def test_the_page_names_variables_that_exist(dot_env: dict[str, str]) -> None:
    """docs/deployment.md promises no setting that nothing reads."""
    text = (ROOT / "docs/deployment.md").read_text()
    named = set(re.findall(r"`((?:WAYBILL|POSTGRES|GRAFANA|KAFKA)_[A-Z_]+)`", text))
    assert named
    settings = {variable_of(name) for name in Settings.model_fields}
    kafka = {f"{PREFIX}{each.name.upper()}" for each in fields(KafkaSettings)}
    assert named <= {*dot_env, *variables(), *settings, *kafka}
