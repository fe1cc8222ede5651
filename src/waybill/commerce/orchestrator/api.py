"""HTTP of the orchestrator: where the process of an order stands."""

from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BeforeValidator

from waybill.commerce.http.problem import not_found
from waybill.commerce.http.surface import Surface, answers, json_answer, refuses
from waybill.commerce.orchestrator.views import SagaStep, SagaView
from waybill.messaging.core.ports import Database

_ONE = """
SELECT order_id, status, facts, reason, asks, settled_at, created_at, updated_at
FROM app.sagas WHERE order_id = $1
"""
_STEPS = """
SELECT seq AS sequence, event, from_status, to_status, at, message_id, detail
FROM app.saga_steps WHERE order_id = $1 ORDER BY seq
"""


class SagaReads(Protocol):
    """What GET shows. May raise TransientError."""

    async def saga(self, order_id: UUID) -> SagaView | None:
        """The process of an order; None if nothing was heard of it."""


class SagaPages:
    """The `SagaReads` of the orchestrator's API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def saga(self, order_id: UUID) -> SagaView | None:
        """See SagaReads."""
        rows = await self._database.fetch(_ONE, order_id)
        if not rows:
            return None
        steps = await self._database.fetch(_STEPS, order_id)
        names = SagaStep.__struct_fields__
        row = rows[0]
        return SagaView(
            order_id=row["order_id"],
            status=row["status"],
            facts=tuple(row["facts"]),
            reason=row["reason"],
            asks=row["asks"],
            settled_at=row["settled_at"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            steps=tuple(SagaStep(**{name: each[name] for name in names}) for each in steps),
        )


def surface(*, reads: SagaReads, id_prefix: str = "") -> Surface:
    """All routes of the orchestrator."""
    router = APIRouter(tags=["sagas"])
    shown: Any = Annotated[UUID, BeforeValidator(lambda text: str(text).removeprefix(id_prefix))]

    @router.get(
        "/api/v1/sagas/{id}",
        operation_id="getSaga",
        summary="Where the process of an order stands",
        responses={
            **answers(200, SagaView, "Its status, what was heard, and every step"),
            **refuses(_400="The id is no order's", _404="Nothing was heard of this order"),
        },
    )
    async def get_saga(order_id: Annotated[shown, Path(alias="id")]) -> Response:
        saga = await reads.saga(order_id)
        if saga is None:
            raise not_found("saga")
        return json_answer(saga)

    return Surface(routes=router.routes, structs=[SagaView])
