"""How full the disk is: of whatever file system PostgreSQL's files are on (protocol I5)."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from waybill.messaging.core.errors import TransientError
from waybill.platform.disk import disk_used
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


async def test_i5_the_fuller_of_the_data_s_two_disks_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol I5: PostgreSQL's files may be a mount of their own, or a link to elsewhere."""
    shares = {tmp_path: (10, 90), tmp_path / "postgres": (95, 5)}

    def usage(directory: Path) -> SimpleNamespace:
        used, free = shares[directory]
        return SimpleNamespace(used=used, free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    measure = disk_used(Settings.load(data_directory=tmp_path))
    assert await measure.read() == 0.95
    shares[tmp_path] = (99, 1)
    assert await measure.read() == 0.99


async def test_i5_a_directory_that_is_away_is_an_outage(tmp_path: Path) -> None:
    """Protocol I5: what cannot be measured leaves the brake as it was."""
    measure = disk_used(Settings.load(data_directory=tmp_path / "gone"))
    with pytest.raises(TransientError, match="gone"):
        await measure.read()
