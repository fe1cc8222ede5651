"""R11: every order on one product to orders spread evenly over the products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.load_side import Scenario
from benchmarks.ratios.two_sides import compare
from waybill.operations.sent_orders import PRODUCTS, content

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget
    from benchmarks.report import Result


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Orders of one line on both sides, so that only the product differs."""
    hot = "one product", Scenario(contents=(content([(PRODUCTS[0], 1, 29.99)]),))
    spread = tuple(content([(product, 1, 29.99)]) for product in PRODUCTS)
    uniform = f"{len(PRODUCTS)} products", Scenario(contents=spread)
    return [await compare(bench, budget, "R11", hot, uniform)]
