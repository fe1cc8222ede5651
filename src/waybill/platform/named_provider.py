"""A payment provider of the user's own, by the name of what makes it: `module:factory`.

Made once, when the payment service starts; whatever keeps it from being made is said in one line.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from waybill.commerce.payments.outside import FACTORY
from waybill.commerce.payments.provider import NAME, is_name
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.commerce.payments.provider import PaymentProvider

PAGE = "docs/library/payment-provider.md"
METHODS = {
    "charge": ("key", "amount", "currency", "order_id"),
    "refund": ("key", "charge_key", "amount", "currency"),
    "charged": ("key", "amount", "currency"),
    "refunded": ("key", "amount", "currency"),
}
"""Each with what it is called with, in this order."""


async def made_by(name: str) -> PaymentProvider:
    """Call what is named, without arguments; a coroutine function is awaited.

    Raises ConfigurationError.
    """
    factory = _factory(name)
    try:
        made = factory()
        if inspect.isawaitable(made):
            made = await made
    except Exception as error:
        # The user's code: whatever it raises, there is no provider, and payments cannot start.
        reason = f"{FACTORY}={name}: {name}() raised {type(error).__name__}: {error}"
        raise ConfigurationError(reason) from error
    lacking = [each for each in METHODS if not callable(getattr(made, each, None))]
    if lacking:
        raise ConfigurationError(
            f"{FACTORY}={name}: it gave a {type(made).__name__} without {', '.join(lacking)}: "
            f"a provider has {', '.join(METHODS)} ({PAGE})"
        )
    for method, given in METHODS.items():
        if not _takes(getattr(made, method), given):
            raise ConfigurationError(
                f"{FACTORY}={name}: the {method} of {type(made).__name__} is called with "
                f"({', '.join(given)}), and cannot be ({PAGE})"
            )
    if not is_name(getattr(made, "name", None)):
        raise ConfigurationError(
            f"{FACTORY}={name}: a {type(made).__name__} needs a name, which events call it by: "
            f'give the class one, as in name = "vouchers" ({NAME}; {PAGE})'
        )
    return cast("PaymentProvider", made)


def _takes(method: Callable[..., object], given: Sequence[object]) -> bool:
    try:
        inspect.signature(method).bind(*given)
    except TypeError:
        return False
    except ValueError:  # one of C without a signature: the first call will tell
        return True
    return True


def _factory(name: str) -> Any:  # noqa: ANN401 - the user's
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute.isidentifier():
        raise ConfigurationError(
            f"{FACTORY}={name}: write module:factory, as in shop.payments:make"
        )
    try:
        module = import_module(module_name)
    except Exception as error:
        # The user's code again: its own imports, or whatever it does when it is loaded.
        raise ConfigurationError(
            f"{FACTORY}={name}: {module_name} cannot be imported: {type(error).__name__}: {error} "
            "(install it beside waybill, or give its folder in PYTHONPATH)"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ConfigurationError(
            f"{FACTORY}={name}: {module_name} has no function or class {attribute}"
        )
    return factory
