"""A real Prometheus over a running platform, with this repository's rules in a hurry."""

from __future__ import annotations

import re
import socket
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml
from scripts.kafka.machine import program
from tests.acceptance.processes import wait_for
from tests.observability.files import RULES, SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOR = "2s"
SECONDS = 20
"""What the rules call a minute, where they compare an age: above the rarest look's 15 seconds."""
NAME = re.compile(r"\$service\b")
INTERVAL = re.compile(r"\$__rate_interval\b")


@dataclass
class Prometheus:
    """One that runs."""

    url: str
    client: httpx2.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now, Grafana's variables put in."""
        text = INTERVAL.sub("30s", NAME.sub(".+", expression))
        answer = self.client.post(f"{self.url}/api/v1/query", data={"query": text})
        assert answer.status_code == 200, f"{text}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """The alerts that fire."""
        alerts = self.client.get(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def fires(self, alert: str, seconds: float = 30) -> None:
        """Wait until it does."""
        wait_for(lambda: alert in self.firing(), seconds, f"{alert} fires")

    def is_quiet(self, seconds: float = 60) -> None:
        """Wait until nothing fires; if something goes on, say what and for which series."""
        try:
            wait_for(lambda: not self.firing(), seconds, "no alert fires any more")
        except pytest.fail.Exception:
            for sample in self.query('ALERTS{alertstate="firing"}'):
                print(sample["metric"])  # noqa: T201 - pytest shows it
            raise

    def ran(self) -> float:
        """Seconds of scrapes that it has; it grows by its own clock."""
        found = self.query("max(count_over_time(up[10m]))")
        return float(found[0]["value"][1]) if found else 0.0


@contextmanager
def running(
    directory: Path, target: Callable[[str, int], str], services: Path = SERVICES
) -> Iterator[Prometheus]:
    """Start it on a free port; `target` says where a job's service is, from its usual port.

    `services` has the jobs.
    """
    directory.mkdir()
    for path in RULES.glob("*.yml"):
        (directory / path.name).write_text(
            yaml.safe_dump(_hurried(yaml.safe_load(path.read_text())))
        )
    configuration = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [f"{directory}/*.yml"]
    (job,) = configuration["scrape_configs"]
    del job["file_sd_configs"]
    job["static_configs"] = yaml.safe_load(services.read_text())
    for group in job["static_configs"]:
        host, _, port = group["targets"][0].partition(":")
        group["targets"] = [target(host, int(port))]
    (directory / "config.yaml").write_text(yaml.safe_dump(configuration))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        program("prometheus"),
        f"--config.file={directory}/config.yaml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx2.Client(timeout=10) as client:
            made = Prometheus(f"http://{address}", client)
            wait_for(lambda: _ready(made), 30, "Prometheus is ready")
            yield made
    finally:
        process.terminate()
        process.wait(timeout=20)


def _ready(prometheus: Prometheus) -> bool:
    try:
        return prometheus.client.get(f"{prometheus.url}/-/ready").status_code == 200
    except httpx2.TransportError:
        return False


def _hurried(rules: dict[str, Any]) -> dict[str, Any]:
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = FOR
            rule["expr"] = re.sub(r"> 60\b", f"> {SECONDS}", rule["expr"])
    return rules
