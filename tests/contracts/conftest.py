"""Platforms as the acceptance tests have them."""

from __future__ import annotations

from tests.acceptance.conftest import new_platform

__all__ = ["new_platform"]
