"""Every blueprint of this release, by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from waybill.blueprints.checkout import CHECKOUT
from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.blueprints.notify import NOTIFY
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.blueprints.reservation import RESERVATION
from waybill.blueprints.reservation_payment import RESERVATION_PAID
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from waybill.blueprints.definition import Blueprint

BLUEPRINTS: Final = {
    blueprint.name: blueprint
    for blueprint in (CHOREOGRAPHY, ORCHESTRATION, RESERVATION, NOTIFY, CHECKOUT)
}
DEFAULT: Final = CHOREOGRAPHY
WITH_PAYMENT: Final = {RESERVATION.name: RESERVATION_PAID}
"""What a blueprint becomes by its document's optional payment step. Data know which one it is."""
VARIANTS: Final = {blueprint.name: blueprint for blueprint in WITH_PAYMENT.values()}
EVERY: Final = {**BLUEPRINTS, **VARIANTS}
"""With the variants: what is described, and whose schemas are kept."""


def blueprint_named(name: str) -> Blueprint:
    """The blueprint of this name. Raises ConfigurationError, naming all, if there is none."""
    try:
        return VARIANTS.get(name) or BLUEPRINTS[name]
    except KeyError:
        raise ConfigurationError(
            f"there is no blueprint {name!r}: choose one of {', '.join(BLUEPRINTS)}"
        ) from None


def with_payment(blueprint: Blueprint) -> Blueprint:
    """The same with its optional payment step. Raises ConfigurationError if it has none."""
    if blueprint.name in VARIANTS:
        return blueprint
    try:
        return WITH_PAYMENT[blueprint.name]
    except KeyError:
        raise ConfigurationError(
            f"{blueprint.name} has no optional payment step: {', '.join(WITH_PAYMENT)} has"
        ) from None
