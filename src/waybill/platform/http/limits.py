"""Bounds of the HTTP edge, each with its unit. Beyond one: a 4xx or 503, never more memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpLimits:
    """Shares of `in_flight_max` make the priorities: health, then reads, cancels, new orders."""

    connections_max: int = 4096
    in_flight_max: int = 4096
    in_flight_share_new: float = 0.5
    in_flight_share_change: float = 0.75
    head_bytes_max: int = 16_384
    request_seconds_max: float = 10.0
    keep_alive_seconds: int = 30
    graceful_seconds: int = 10
    backlog: int = 2048
