"""Reading `Retry-After` (RFC 9110 10.2.3) of an answer from outside, within a bound."""

from __future__ import annotations

RETRY_AFTER_SECONDS_MAX = 600.0


def retry_after_seconds(value: str | None) -> float | None:
    """Seconds to wait; None without a number. A date is not taken: their clock is not ours."""
    if value is None or not (text := value.strip()).isascii() or not text.isdigit():
        return None
    return min(float(text), RETRY_AFTER_SECONDS_MAX) if len(text) <= 9 else RETRY_AFTER_SECONDS_MAX  # noqa: PLR2004 - digits
