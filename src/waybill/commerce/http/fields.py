"""Types of members that mean the same wherever they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

Instant = Annotated[datetime, Meta(tz=True)]
"""A moment in UTC, shown in ISO 8601 with Z."""
