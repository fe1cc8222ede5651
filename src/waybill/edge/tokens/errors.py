"""Why a token is refused: for our log and our counters. A client is told one and the same."""

from __future__ import annotations


class InvalidTokenError(Exception):
    """Not a token of this issuer for us, or not now. `reason` is a fixed code, never their text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
