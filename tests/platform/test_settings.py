"""Settings are checked all at once, before anything starts."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import waybill.platform
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.settings import Settings, variable_of

SOURCE = Path(str(waybill.platform.__file__)).parent


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WAYBILL_", "PAYMENT_", "OUTBOX_")):
            monkeypatch.delenv(name)


def test_the_defaults_run_on_a_laptop() -> None:
    """Nothing has to be set."""
    settings = Settings.load()
    assert settings.data_directory == Path(".waybill")
    assert (settings.port_base, settings.host) == (8080, "127.0.0.1")
    assert settings.order_deadline_seconds == 900
    assert settings.payment_success_rate == 0.8


def test_the_documents_names_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows seed 003 configures it by its names (contracts 1.7)."""
    monkeypatch.setenv("PAYMENT_SIMULATE_SUCCESSRATE", "0.5")
    monkeypatch.setenv("PAYMENT_SIMULATE_FORCEOUTCOME", "SUCCESS")
    monkeypatch.setenv("OUTBOX_CLEANUP_RETENTIONDAYS", "3")
    monkeypatch.setenv("OUTBOX_CLEANUP_INTERVALMS", "60000")
    settings = Settings.load()
    assert settings.payment_success_rate == 0.5
    assert settings.payment_force_outcome == "success"
    assert settings.outbox_retention_days == 3
    assert settings.outbox_cleanup_interval_milliseconds == 60_000


def test_our_own_name_wins_over_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two names of one setting are no riddle."""
    monkeypatch.setenv("PAYMENT_SIMULATE_SUCCESSRATE", "0.5")
    monkeypatch.setenv("WAYBILL_PAYMENT_SUCCESS_RATE", "1")
    assert Settings.load().payment_success_rate == 1


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line is nearer; an option that was not given (None) does not count."""
    monkeypatch.setenv("WAYBILL_PORT_BASE", "9000")
    assert Settings.load(port_base=7000).port_base == 7000
    assert Settings.load(port_base=None).port_base == 9000


def test_an_unknown_setting_names_the_nearest_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo does not run with a default."""
    monkeypatch.setenv("WAYBILL_PORTBASE", "9000")
    with pytest.raises(ConfigurationError, match=r"WAYBILL_PORTBASE .* WAYBILL_PORT_BASE\?"):
        Settings.load()


def test_all_mistakes_are_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody repairs them one start at a time."""
    monkeypatch.setenv("WAYBILL_PORT_BASE", "70000")
    monkeypatch.setenv("WAYBILL_ORDER_DEADLINE_SECONDS", "soon")
    monkeypatch.setenv("PAYMENT_SIMULATE_SUCCESSRATE", "nan")
    monkeypatch.setenv("WAYBILL_TYPO", "1")
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    line = str(refused.value)
    assert "\n" not in line
    for name in ("PORT_BASE", "ORDER_DEADLINE_SECONDS", "TYPO"):
        assert f"WAYBILL_{name}" in line
    assert "PAYMENT_SIMULATE_SUCCESSRATE='nan'" in line  # by the name that was set


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.test"])  # noqa: S104 - refused
def test_an_open_address_needs_a_word(host: str) -> None:
    """Without tokens only this machine may call, unless insecure says so (contracts C43)."""
    with pytest.raises(ConfigurationError, match="WAYBILL_INSECURE"):
        Settings.load(host=host)
    assert Settings.load(host=host, insecure=True).host == host


def test_the_inbox_outlives_the_outbox() -> None:
    """A message that is still in an outbox is still known to its consumers (protocol D5)."""
    with pytest.raises(ConfigurationError, match="INBOX_RETENTION_DAYS"):
        Settings.load(outbox_retention_days=30, inbox_retention_days=30)


def test_the_intake_has_no_set_capacity_unless_one_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Orders a second, above 0; an empty variable is none, as compose files write it."""
    assert Settings.load().intake_orders_per_second_max is None
    name = "WAYBILL_INTAKE_ORDERS_PER_SECOND_MAX"
    for text, rate in (("", None), ("150", 150.0), ("0.5", 0.5)):
        monkeypatch.setenv(name, text)
        assert Settings.load().intake_orders_per_second_max == rate
    for text in ("0", "-1", "inf", "nan", "many"):
        monkeypatch.setenv(name, text)
        with pytest.raises(ConfigurationError, match=name):
            Settings.load()


def test_every_setting_is_read() -> None:
    """None is a promise without an effect."""
    sources = [path for path in SOURCE.rglob("*.py") if path.name != "settings.py"]
    text = "\n".join(path.read_text() for path in sources)
    unread = {
        name
        for name in Settings.model_fields
        if not re.search(rf"settings(_of\([^)]*\))?\.{name}\b", text)
    }
    assert unread == set()


def test_the_effective_settings_can_be_shown() -> None:
    """Under the names by which they are set."""
    shown = Settings.load().shown()
    assert shown[variable_of("port_base")] == "8080"
    assert set(shown) == {variable_of(name) for name in Settings.model_fields}
