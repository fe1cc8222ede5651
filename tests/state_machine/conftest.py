"""The profile of long runs, there when pytest chooses one: `--hypothesis-profile=long`."""

from __future__ import annotations

from hypothesis import settings

LONG = "long"

settings.register_profile(LONG, max_examples=2_000, stateful_step_count=60)
