"""Libraries that only some platforms need: what imports them says which extra brings them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

REDIS = "REDIS_URL or REDIS_HOST is set"


@contextmanager
def extra(name: str, why: str) -> Iterator[None]:
    """Import within. Raises ConfigurationError: `why` it is needed, and how to install it."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"{why}, and the library for it is missing: install waybill[{name}], or unset it"
        ) from error
