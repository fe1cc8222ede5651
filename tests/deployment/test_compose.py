"""compose.yaml, checked without an engine: by its schema, and against the code it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from scripts.kafka.properties import FIXED

from waybill.blueprints.catalogue import BLUEPRINTS, DEFAULT, WITH_PAYMENT
from waybill.messaging.adapters.kafka.settings import KafkaSettings
from waybill.platform.chosen import chosen
from waybill.platform.databases import urls_of
from waybill.platform.env_file import DATABASES, lines
from waybill.platform.outside import NOTHING_OUTSIDE, Outside
from waybill.platform.own_databases import OwnDatabases
from waybill.platform.own_server import tables_of
from waybill.platform.server_steps import script
from waybill.platform.services import PLANS, plans_of
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from tests.deployment.reading import Services

    from waybill.blueprints.definition import Blueprint

ROOT = Path(__file__).parents[2]
OURS = {plan.name: service for service, plan in PLANS.items()}
"""The containers of services, of whatever blueprint."""
READY = "/readyz"
TARGETS = ROOT / "infra/prometheus/services"
AROUND = {"postgres", "kafka", "prometheus", "grafana", "tempo"}
NINE = {*(plan.name for plan in plans_of(DEFAULT).values()), *AROUND}
BESIDE = {"redis", "mail", "audit", "tools", "collector"}
"""Profiles that no blueprint needs."""
NO_SHELL = {"tempo": "image holds nothing", "otel-collector": "image holds nothing"}
"""One program each, which takes no question on its command line; what compose.yaml says of it."""
KNOWN = (*BLUEPRINTS.values(), *WITH_PAYMENT.values())
NOT_ROOT_BY_ITSELF = {"apache/kafka", "kafbat/kafka-ui"}
"""Whose images name a user of their own (appuser, kafkaui)."""

ours = pytest.mark.parametrize("name", sorted(OURS))


def test_it_is_a_compose_file() -> None:
    """By the schema of the Compose specification, which check-jsonschema brings along."""
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def started(containers: Services, profiles: str) -> set[str]:
    """What `docker compose up` starts with these in COMPOSE_PROFILES."""
    wanted = set(profiles.split(","))
    return {
        name
        for name, service in containers.items()
        if "profiles" not in service or wanted.intersection(service["profiles"])
    }


def test_nine_containers_start(containers: Services, dot_env: dict[str, str]) -> None:
    """R262: seed 003's nine; others only with a profile."""
    assert started(containers, dot_env["COMPOSE_PROFILES"]) == NINE


@pytest.mark.parametrize("blueprint", KNOWN, ids=lambda blueprint: blueprint.name)
def test_a_blueprint_has_the_containers_of_its_services(
    containers: Services, blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R259, R267: the .env that is written for it names its profile, and what it runs as."""
    written = [line.partition("=") for line in lines(lambda: "x", blueprint.name)]
    given = {name: text for name, _, text in written}
    ours = {plan.name for plan in plans_of(blueprint).values()}
    assert started(containers, given["COMPOSE_PROFILES"]) == ours | AROUND
    monkeypatch.setenv("WAYBILL_BLUEPRINT", given["WAYBILL_BLUEPRINT"])
    assert chosen(Settings.load(data_directory=Path("/nonexistent"))) == blueprint


@pytest.mark.parametrize("blueprint", KNOWN, ids=lambda blueprint: blueprint.name)
def test_prometheus_asks_the_services_of_the_blueprint(
    containers: Services, blueprint: Blueprint
) -> None:
    """None that it does not have, which would be taken for dead, and all that it has."""
    groups = yaml.safe_load((TARGETS / f"{blueprint.name}.yml").read_text())
    found = {group["labels"]["job"]: group["targets"] for group in groups}
    assert found == {
        plan.name: [f"{plan.name}:{8080 + plan.port_offset}"]
        for plan in plans_of(blueprint).values()
    }
    (job,) = yaml.safe_load((TARGETS.parent / "prometheus.yml").read_text())["scrape_configs"]
    (mounted,) = job["file_sd_configs"][0]["files"]
    chosen_one = f"./infra/prometheus/services/{DEFAULT.name}.yml:{mounted}:ro"
    assert chosen_one in containers["prometheus"]["volumes"]


def test_every_profile_is_a_blueprint_or_stands_beside_one(containers: Services) -> None:
    """None is misspelt, and the page tells of each."""
    profiles = {each for service in containers.values() for each in service.get("profiles", ())}
    assert profiles >= BESIDE
    assert profiles - BESIDE <= {blueprint.name for blueprint in KNOWN}
    page = (ROOT / "docs/deployment.md").read_text()
    assert all(f"`{profile}`" in page for profile in profiles)


def test_services_call_containers_that_exist(
    containers: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `checkout` and `notify` orders call another service: by its container, at its port."""
    for name, text in containers["order-service"]["environment"].items():
        monkeypatch.setenv(name, str(text))
    settings = Settings.load()
    for url, service in ((settings.payment_url, "payment"), (settings.notify_url, "notification")):
        plan = PLANS[service]
        assert url == f"http://{plan.name}:{settings.port_base + plan.port_offset}"
        assert plan.name in containers


def test_mail_can_be_caught(containers: Services) -> None:
    """The profile `mail`: by the variables that stand above it a mail gets there, without TLS."""
    given = {"SMTP_HOST": "mail", "SMTP_PORT": "1025", "SMTP_TLS": "none"}
    assert {*given, "FROM_EMAIL"} <= set(containers["notification-service"]["environment"])
    smtp = Outside.from_environment({**given, "FROM_EMAIL": "orders@shop.example"}).smtp
    assert smtp is not None
    catcher = containers[smtp.host]
    assert catcher["environment"]["MP_SMTP_BIND_ADDR"] == f"0.0.0.0:{smtp.port}"
    said = (ROOT / "compose.yaml").read_text()
    assert all(f"{name}={text}" in said for name, text in given.items())


@ours
def test_a_container_serves_one_service_at_its_port(containers: Services, name: str) -> None:
    """The command, the published port and the probe are those of the code."""
    service = containers[name]
    assert service["command"] == ["serve", OURS[name]]
    port = int(service["environment"]["WAYBILL_PORT_BASE"]) + PLANS[OURS[name]].port_offset
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}{READY}'" in service["healthcheck"]["test"][-1]
    assert f'"{READY}": ' in (ROOT / "src/waybill/platform/http/actuator.py").read_text()


@ours
def test_its_environment_makes_settings_that_load(
    containers: Services, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is misspelt, and every database that the service owns can be reached."""
    for variable, text in containers[name]["environment"].items():
        monkeypatch.setenv(variable, str(text))
    assert Settings.load().host == "0.0.0.0"  # noqa: S104 - within the container
    assert Outside.from_environment(containers[name]["environment"]) == NOTHING_OUTSIDE
    own = OwnDatabases.from_environment(containers[name]["environment"])
    assert own is not None
    for service in tables_of([OURS[name]]):
        assert f"{service}_owner:" in urls_of(own, service).owner
        assert f"@postgres:5432/{service}db" in urls_of(own, service).service


@ours
def test_a_container_holds_no_secret_of_another(containers: Services, name: str) -> None:
    """With Kafka nobody reads another's database: a container has its owner and service roles."""
    held = {key for key in containers[name]["environment"] if "PASSWORD" in key}
    if name == "notification-service":
        held.remove("SMTP_PASSWORD")
    owned = [service.upper() for service in tables_of([OURS[name]])]
    assert held == {
        f"WAYBILL_{service}_{kind}_PASSWORD" for service in owned for kind in ("OWNER", "SERVICE")
    }
    assert containers[name]["environment"]["KAFKA_BROKERS"] == "kafka:9092"


def test_audits_are_shown_where_prometheus_asks(
    containers: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The profile `audit`: it may read every database, the order service shows what it writes."""
    service, shows = containers["audit"], containers["order-service"]
    (loop,) = service["command"]
    (file,) = re.findall(r"waybill audit --settle \d+ --prometheus (\S+); sleep 3600", loop)
    assert f"WAYBILL_AUDIT_FILE={file}" in (ROOT / "docs/deployment.md").read_text()
    assert service["volumes"] == [f"audit:{Path(file).parent}"]
    assert shows["volumes"] == [f"audit:{Path(file).parent}:ro"]
    assert file in service["healthcheck"]["test"][-1]
    assert f"chown 10001:10001 {Path(file).parent}\n" in (ROOT / "Dockerfile").read_text()
    assert "WAYBILL_AUDIT_FILE" in shows["environment"]
    for name, text in {**service["environment"], "WAYBILL_AUDIT_FILE": file}.items():
        monkeypatch.setenv(name, str(text))
    assert Settings.load(data_directory=tmp_path).audit_file == Path(file)
    own = OwnDatabases.from_environment(os.environ)
    assert own is not None
    assert all(f"{each}_auditor:" in urls_of(own, each).auditor for each in DATABASES)
    assert {name for name in service["environment"] if "PASSWORD" in name} == {
        f"WAYBILL_{each.upper()}_AUDITOR_PASSWORD" for each in DATABASES
    }


def test_how_many_members_a_consumer_has_reaches_every_service(
    dot_env: dict[str, str], containers: Services
) -> None:
    """From .env, by our name or the document's; as it is written, one."""
    text = (ROOT / "compose.yaml").read_text()
    assert dot_env["KAFKA_CONCURRENCY"] == ""
    for name in ("KAFKA_CONCURRENCY", "SPRING_KAFKA_LISTENER_CONCURRENCY"):
        assert f'{name}: "${{{name}:-}}"' in text
        for service in OURS:
            environment = containers[service]["environment"]
            written = KafkaSettings.from_environment(environment)
            assert written is not None
            assert written.members == 1
            given = KafkaSettings.from_environment({**environment, name: "3"})
            assert given is not None
            assert given.members == 3


def test_a_cache_and_a_mail_server_are_asked_for_by_variables(
    containers: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R269: given in .env, they are in the containers that need them, by the names of seed 004."""
    given = {
        "REDIS_URL": "redis://redis:6379/0",
        "SMTP_HOST": "post.example",
        "FROM_EMAIL": "orders@shop.example",
    }
    for name in OURS:
        environment = containers[name]["environment"]
        assert set(given) <= set(environment)
        for variable, text in (environment | given).items():
            monkeypatch.setenv(variable, str(text))
        outside = Outside.from_environment(os.environ)
        assert outside.redis is not None
        assert outside.redis.url == given["REDIS_URL"]
        assert outside.smtp is not None
        assert (outside.smtp.host, outside.smtp.port) == ("post.example", 587)
    assert containers["redis"]["profiles"] == ["redis"]


def test_nobody_is_root_or_reachable_from_outside(containers: Services) -> None:
    """No capabilities, no new privileges, bounds on everything, ports on loopback only (C43)."""
    for name, service in containers.items():
        image = service["image"].rpartition(":")[0]
        user = str(service.get("user", ""))
        assert (
            name in OURS or image in NOT_ROOT_BY_ITSELF or user.partition(":")[0] not in {"", "0"}
        )
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert not service["image"].endswith(":latest")
    assert {name for name, service in containers.items() if not service.get("read_only")} == {
        "kafka",  # writes its configuration beside its programs
        "kafka-ui",
    }


def test_every_container_is_asked_whether_it_is_well(containers: Services) -> None:
    """But for those whose image has nothing that could ask, and nobody waits for their health."""
    assert {name for name, each in containers.items() if "healthcheck" not in each} == set(NO_SHELL)
    text = (ROOT / "compose.yaml").read_text()
    for name, reason in NO_SHELL.items():
        before, _, _ = text.partition(f"\n  {name}:\n")
        assert reason in before.rpartition("\n\n")[2]


def test_who_is_waited_for_can_be_asked(containers: Services) -> None:
    """Each dependency exists, and one that must be healthy has a healthcheck."""
    for service in containers.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_started" or "healthcheck" in containers[other]


def test_the_databases_are_made_by_the_script_of_this_release(containers: Services) -> None:
    """infra/init-databases.sql: `waybill provision --sql` for all, and it has its passwords."""
    text = (ROOT / "infra/init-databases.sql").read_text()
    assert text == "\n".join(script(DATABASES)) + "\n"
    given = containers["postgres"]["environment"]
    assert set(re.findall(r"\\getenv \w+ (\w+)", text)) <= set(given)


def test_every_mounted_file_is_here(compose: dict[str, Services], containers: Services) -> None:
    """A path that is missing would become an empty directory; a volume has to be declared."""
    for service in containers.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (ROOT / source).exists() if source[0] == "." else source in compose["volumes"]
            assert known, source


def test_kafka_is_the_broker_that_the_tests_run(containers: Services) -> None:
    """R264: KRaft, one node; partitions and the groups' time limits as in `make kafka-up`."""
    given = {key: str(text) for key, text in containers["kafka"]["environment"].items()}
    for line in FIXED.splitlines():
        name, _, value = line.partition("=")
        if not name.startswith("sasl."):
            assert given[f"KAFKA_{name.upper().replace('.', '_')}"] == value, name
    for address in ("kafka:9092", "localhost:29092", "localhost:9092"):  # contracts C44
        assert f"://{address}" in given["KAFKA_ADVERTISED_LISTENERS"]
