"""Every rule, in the order of its number."""

from __future__ import annotations

from waybill.operations.audit import money, stock

RULES = tuple(sorted((*stock.RULES, *money.RULES), key=lambda rule: rule.id))
