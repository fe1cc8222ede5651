"""The points of the order platform at which a process may die, beside those of messaging."""

from __future__ import annotations

from waybill.messaging.core.crash_points import Point, register, unknown

POINTS = {
    "intake.before_commit": Point("New orders are written with their keys; the flush ends next."),
    "intake.after_commit": unknown("New orders are committed; no customer was answered."),
    "cancel.before_commit": Point("A customer's cancel is written; the unit ends next."),
    "cancel.after_commit": unknown("A customer's cancel is committed, and not answered."),
    "deadline.before_commit": Point("Overdue orders ask again; the unit ends next."),
    "deadline.after_commit": unknown("Overdue orders have asked again."),
    "provider.before_write": Point("The provider is about to write its ledger."),
    "provider.after_write": Point("The provider has moved money, and did not answer."),
    "mail.before_send": Point("A mail is about to be handed over."),
    "mail.after_send": unknown("A mail was handed over, and nobody heard it."),
}

register(POINTS)
