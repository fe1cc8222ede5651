"""Reliable messaging for Python services: outbox, inbox, consumers, dead letters, deliveries.

What stands here is the public API; see docs/library/first-service.md.
"""

from waybill.messaging.adapters.postgres.connection import PostgresSettings
from waybill.messaging.core.codec import Codec, EventType, JsonCodec
from waybill.messaging.core.errors import (
    ConcurrencyConflictError,
    ConfigurationError,
    DeadLetterLimitExceededError,
    LeaseLostError,
    MessagingError,
    OutcomeUnknownError,
    OverloadedError,
    PermanentError,
    TransientError,
    UndecodableMessageError,
)
from waybill.messaging.core.identity import new_id
from waybill.messaging.core.message import Message
from waybill.messaging.core.outcome import Delivered, Failed, NotFound, Refused, Unknown
from waybill.messaging.core.ports import Delivery
from waybill.messaging.core.retry import Backoff
from waybill.messaging.core.unit import Received, UnitOfWork
from waybill.messaging.reading.settings import SourceSpec
from waybill.messaging.runtime.delivery import DeliveryPolicy
from waybill.messaging.runtime.group_commit import GroupCommit, GroupCommitPolicy
from waybill.messaging.runtime.message_unit import MessageUnit
from waybill.messaging.runtime.policy import ConsumerPolicy
from waybill.messaging.service import MessagingService, MessagingSettings

__all__ = [
    "Backoff",
    "Codec",
    "ConcurrencyConflictError",
    "ConfigurationError",
    "ConsumerPolicy",
    "DeadLetterLimitExceededError",
    "Delivered",
    "Delivery",
    "DeliveryPolicy",
    "EventType",
    "Failed",
    "GroupCommit",
    "GroupCommitPolicy",
    "JsonCodec",
    "LeaseLostError",
    "Message",
    "MessageUnit",
    "MessagingError",
    "MessagingService",
    "MessagingSettings",
    "NotFound",
    "OutcomeUnknownError",
    "OverloadedError",
    "PermanentError",
    "PostgresSettings",
    "Received",
    "Refused",
    "SourceSpec",
    "TransientError",
    "UndecodableMessageError",
    "UnitOfWork",
    "Unknown",
    "new_id",
]
