"""Webhooks are believed only with a signature of ours, made lately: Standard Webhooks 1.0.0.

The signature covers id, timestamp and raw body. Several secrets may be valid at once, so that one
can be replaced without a webhook being refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
ID_CHARS_MAX = 256
SIGNATURES_MAX = 10
_VERSION = "v1"


class WebhookRefusedError(Exception):
    """Not believed. The text is for our log: it names nothing that the sender gave."""


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """`secrets` (`whsec_…`) are all valid; give the new and the old one while one is replaced.

    What was signed longer ago than `tolerance_seconds`, or as far ahead, is a replay.
    """

    secrets: tuple[str, ...] = field(repr=False)
    tolerance_seconds: float = 300.0
    keys: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.secrets:
            raise ConfigurationError("webhooks need a secret: give whsec_ and 24 to 64 bytes")
        if self.tolerance_seconds <= 0:
            raise ConfigurationError("webhook tolerance_seconds must be above 0")
        object.__setattr__(self, "keys", tuple(_key(secret) for secret in self.secrets))


def verify(
    headers: Mapping[str, str], body: bytes, settings: WebhookSettings, *, now: datetime
) -> str:
    """The id of a webhook that is ours to believe; header names in lower case.

    Raises WebhookRefusedError.
    """
    name, stamp, given = (headers.get(each, "") for each in (ID, TIMESTAMP, SIGNATURE))
    if not name or len(name) > ID_CHARS_MAX or not given:
        raise WebhookRefusedError(f"it needs the headers {ID}, {TIMESTAMP} and {SIGNATURE}")
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:  # noqa: PLR2004 - digits
        raise WebhookRefusedError(f"{TIMESTAMP} is no time in seconds")
    if abs(now.timestamp() - int(stamp)) > settings.tolerance_seconds:
        raise WebhookRefusedError(
            f"it was signed more than {settings.tolerance_seconds:g} s away from now: "
            "a replay, or one of the two clocks is wrong"
        )
    wanted = [_signature(key, name, stamp, body) for key in settings.keys]
    if not any([_same(wanted, each) for each in given.split(" ")[:SIGNATURES_MAX]]):  # noqa: C419 - all are looked at, whichever fits
        raise WebhookRefusedError("no signature fits: is the secret the provider's?")
    return name


def sign(secret: str, name: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """The headers of a webhook, as a provider sends them."""
    stamp = str(int(now.timestamp()))
    signature = base64.b64encode(_signature(_key(secret), name, stamp, body)).decode()
    return {ID: name, TIMESTAMP: stamp, SIGNATURE: f"{_VERSION},{signature}"}


def _same(wanted: list[bytes], given: str) -> bool:
    version, _, text = given.partition(",")
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    fits = [hmac.compare_digest(each, signature) for each in wanted]
    return version == _VERSION and any(fits)


def _signature(key: bytes, name: str, stamp: str, body: bytes) -> bytes:
    return hmac.digest(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256)


def _key(secret: str) -> bytes:
    text = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(f"a webhook secret is not {SECRET_PREFIX} and base64") from error
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ConfigurationError(
            f"a webhook secret has {len(key)} bytes: "
            f"it needs {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}"
        )
    return key
