"""Tempo and the OpenTelemetry collector as configured: what can be said without their binaries.

Neither is a Debian package, so nothing here starts them: names, ports and wiring are checked.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import yaml
from tests.observability.files import INFRA

OTLP_HTTP = 4318
QUERY = 3200


def read(name: str) -> Any:  # noqa: ANN401 - YAML
    """A file of infra/."""
    return yaml.safe_load((INFRA / name).read_text())


def test_tempo_takes_traces_where_services_send_them() -> None:
    """Contracts 1.6: OTLP over HTTP on 4318, queries on 3200, where Grafana asks."""
    tempo = read("tempo/tempo.yaml")
    endpoint = tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert endpoint == f"0.0.0.0:{OTLP_HTTP}"
    assert tempo["server"]["http_listen_port"] == QUERY
    sources = read("grafana/provisioning/datasources/datasources.yaml")["datasources"]
    (asked,) = [source["url"] for source in sources if source["uid"] == "tempo"]
    assert urlsplit(asked).port == QUERY
    assert tempo["storage"]["trace"]["backend"] == "local"
    assert tempo["compactor"]["compaction"]["block_retention"]


def test_every_part_of_the_collector_is_configured_and_used() -> None:
    """A pipeline that names what is not there ends the collector at start."""
    collector = read("otel-collector/config.yaml")
    used: dict[str, set[str]] = {"receivers": set(), "processors": set(), "exporters": set()}
    for pipeline in collector["service"]["pipelines"].values():
        for kind, names in used.items():
            names.update(pipeline[kind])
    for kind, names in used.items():
        assert names == set(collector[kind]), kind
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])


def test_the_collector_bounds_its_memory_first_and_sends_to_tempo() -> None:
    """The limiter is the first processor, and what it lets through ends where Tempo listens."""
    collector = read("otel-collector/config.yaml")
    traces = collector["service"]["pipelines"]["traces"]
    assert traces["processors"][0] == "memory_limiter"
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == f"0.0.0.0:{OTLP_HTTP}"
    (exporter,) = collector["exporters"].values()
    assert exporter["endpoint"] == f"http://tempo:{OTLP_HTTP}"
    assert exporter["sending_queue"]["queue_size"]
