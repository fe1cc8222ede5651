"""What the last audit found, shown among a service's metrics: the alerts need no other exporter.

`waybill audit --prometheus FILE` writes it. A file that was named and is not there, or cannot be
read, counts as an audit that never ended: the alert AuditOld tells of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from waybill.platform.settings import Settings

NAME: Final = "audit.prom"
"""Of the file in the data folder that is shown without being asked for."""
VIOLATIONS: Final = "audit_violations"
FINISHED: Final = "audit_finished_timestamp_seconds"
FILE_BYTES_MAX: Final = 1_000_000
"""An audit writes some 5 kB; what is longer is another file."""


class AuditCollector(Collector):
    """The figures of one file, read when somebody scrapes: it is small, and on this machine."""

    def __init__(self, path: Path, *, is_expected: bool) -> None:
        self._path = path
        self._is_expected = is_expected

    def collect(self) -> Iterator[Metric]:
        """Nothing if there is no file and none was asked for."""
        try:
            found = _read(self._path)
        except FileNotFoundError:
            if not self._is_expected:
                return
            found = {}
        except (OSError, ValueError):
            found = {}
        if VIOLATIONS in found:
            yield found[VIOLATIONS]
        text = "When the last whole audit ended; 0: none ever, or its file cannot be read"
        yield found.get(FINISHED) or GaugeMetricFamily(FINISHED, text, value=0)


def audit_collector(settings: Settings) -> AuditCollector:
    """Of the file that the settings name, or of the one in the data folder if there is one."""
    if settings.audit_file is not None:
        return AuditCollector(settings.audit_file, is_expected=True)
    return AuditCollector(settings.data_directory / NAME, is_expected=False)


def _read(path: Path) -> dict[str, Metric]:
    with path.open(encoding="utf-8") as file:
        text = file.read(FILE_BYTES_MAX)
    families = text_string_to_metric_families(text)
    return {each.name: each for each in families if each.name in {VIOLATIONS, FINISHED}}
