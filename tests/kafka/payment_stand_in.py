"""A payment service by somebody else: it knows docs/events.md and confluent-kafka, nothing of ours.

Its records are seed 003's: no headers, decimal epoch seconds, free text for a reason. Orders of
exactly three pieces are declined.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from typing import Any

from confluent_kafka import Consumer, Producer

DECLINED_PIECES = 3
TOPICS = ["inventory-events", "order-events"]


class Payments:
    """What became of each order's money."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self._applied: set[str] = set()

    def answer(self, event: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        """The event to publish, if this one asks for any."""
        if event["eventId"] in self._applied:
            return None
        self._applied.add(event["eventId"])
        payload = event["payload"]
        known = self._answers.get(payload["orderId"])
        match event["eventType"]:
            case "StockReserved":
                return known or self._charge(payload["orderId"], payload)
            case "OrderCancelled":
                never_asked = payload.get("reason") == "stock_unavailable"
                return None if known or never_asked else self._refuse(payload["orderId"])
            case "RefundRequested":
                return self._refund(payload["orderId"], known)
            case _:
                return None

    def _refuse(self, order: str) -> tuple[str, dict[str, Any]]:
        return self._keep(order, *failed("Cancelled before the charge"))

    def _refund(
        self, order: str, known: tuple[str, dict[str, Any]] | None
    ) -> tuple[str, dict[str, Any]]:
        if known is None:
            return self._refuse(order)
        if known[0] == "PaymentSucceeded":
            refund = {**known[1], "refundId": str(uuid.uuid1())}
            return self._keep(order, "PaymentRefunded", refund)
        return known

    def _charge(self, order: str, payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        pieces = sum(line["quantity"] for line in payload["items"])
        if pieces == DECLINED_PIECES:
            return self._keep(order, *failed("Payment declined by provider"))
        paid = {"paymentId": str(uuid.uuid1()), "amount": payload["totalAmount"]}
        return self._keep(order, "PaymentSucceeded", paid)

    def _keep(self, order: str, kind: str, members: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self._answers[order] = (kind, {"orderId": order, **members})
        return self._answers[order]


def failed(reason: str) -> tuple[str, dict[str, Any]]:
    """Nothing was captured, and nothing will be."""
    return "PaymentFailed", {"reason": reason}


def envelope(kind: str, payload: dict[str, Any]) -> str:
    """As Java's mapper writes it."""
    order = payload["orderId"]
    return json.dumps(
        {
            "eventId": str(uuid.uuid1()),
            "payload": payload,
            "version": 1,
            "eventType": kind,
            "occurredAt": round(time.time(), 6),  # noqa: TID251 - no part of our program
            "causationId": order,
            "correlationId": order,
        }
    )


def main(bootstrap: str) -> None:
    """Serve until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "payments-by-somebody-else",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "partitioner": "murmur2"})
    consumer.subscribe(TOPICS)
    payments = Payments()
    while not ended:
        records = consumer.consume(100, 0.1)
        for record in records:
            if record.error() is None:
                answer = payments.answer(json.loads(record.value() or b"{}"))
                if answer is not None:
                    producer.produce("payment-events", envelope(*answer), record.key())
        producer.flush()
        if records:
            consumer.commit(asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1])
