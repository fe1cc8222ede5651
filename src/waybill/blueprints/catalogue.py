"""Every blueprint of this release, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.blueprints.notify import NOTIFY
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.blueprints.reservation import RESERVATION
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint

BLUEPRINTS: Final = {
    blueprint.name: blueprint for blueprint in (CHOREOGRAPHY, ORCHESTRATION, RESERVATION, NOTIFY)
}
DEFAULT: Final = CHOREOGRAPHY


def blueprint_named(name: str) -> Blueprint:
    """The blueprint of this name. Raises ConfigurationError, naming all, if there is none."""
    try:
        return BLUEPRINTS[name]
    except KeyError:
        raise ConfigurationError(
            f"there is no blueprint {name!r}: choose one of {', '.join(BLUEPRINTS)}"
        ) from None
