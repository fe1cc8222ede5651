"""HTTP of the notification service."""

from collections.abc import Sequence
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from waybill.commerce.http.surface import Surface, answers, json_answer, refuses
from waybill.commerce.notifications.views import NotificationList, NotificationView


class NotificationReads(Protocol):
    """What GET shows. May raise TransientError."""

    async def notifications(self, order_id: UUID) -> Sequence[NotificationView]:
        """The notifications about an order, oldest first; empty if there are none."""


class NotificationQuery(BaseModel):
    """About which order; an unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid")

    order_id: Annotated[UUID, Field(alias="orderId")]


def surface(*, reads: NotificationReads) -> Surface:
    """All routes of the notification service."""
    router = APIRouter(tags=["notifications"])

    @router.get(
        "/api/notifications",
        operation_id="listNotifications",
        summary="The notifications about one order",
        responses={
            **answers(200, NotificationList, "The notifications; none is no error"),
            **refuses(_400="A parameter is not valid"),
        },
    )
    async def list_notifications(query: Annotated[NotificationQuery, Query()]) -> Response:
        return json_answer(NotificationList(tuple(await reads.notifications(query.order_id))))

    return Surface(routes=router.routes, structs=[NotificationList])
