"""Pact reports to nobody; platforms as the acceptance tests have them."""

from __future__ import annotations

import os

from tests.acceptance.conftest import new_platform

__all__ = ["new_platform"]

os.environ["PACT_DO_NOT_TRACK"] = "true"
