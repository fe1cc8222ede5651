"""How full the data directory's file system is: above a limit nothing is written any more (I5)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import TransientError
from waybill.messaging.runtime.brake import Measure
from waybill.platform.settings import variable_of

if TYPE_CHECKING:
    from pathlib import Path

    from waybill.platform.settings import Settings


def disk_used(settings: Settings) -> Measure:
    """What closes every service's writes (promises, overload 3)."""
    data = settings.data_directory

    async def read() -> float:
        # PostgreSQL's files may be a link or a mount of their own (as root's are).
        return max(used_share(data), used_share(data / "postgres"))

    return Measure(
        what=f"used share of the disk of {data.absolute()}",
        setting=variable_of("disk_used_share_max"),
        limit=settings.disk_used_share_max,
        read=read,
    )


def used_share(directory: Path) -> float:
    """As `df` shows it: of what others than root may use. Raises TransientError."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError as error:
        raise TransientError(f"the disk of {directory}: {error.strerror}") from error
    return usage.used / (usage.used + usage.free)
