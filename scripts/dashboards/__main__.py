"""Write the dashboards anew: `python -m scripts.dashboards`. A test holds the files to this."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.dashboards.messaging import MESSAGING
from scripts.dashboards.model import rendered
from scripts.dashboards.overview import ORDERS, OVERVIEW
from scripts.dashboards.stuck import STUCK

TARGET = Path(__file__).parents[2] / "infra" / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """Each file's name and text."""
    return {
        f"{dashboard.uid}.json": json.dumps(rendered(dashboard), indent=2, ensure_ascii=False)
        + "\n"
        for dashboard in (OVERVIEW, STUCK, ORDERS, MESSAGING)
    }


if __name__ == "__main__":
    for name, text in files().items():
        (TARGET / name).write_text(text)
