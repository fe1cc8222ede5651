"""Every port in memory: for tests of handlers and loops. Real transactions, nothing durable."""

from waybill.messaging.adapters.memory.database import MemoryDatabase, MemoryTransaction
from waybill.messaging.adapters.memory.dead_letters import MemoryDeadLetters
from waybill.messaging.adapters.memory.deliveries import MemoryDeliveries
from waybill.messaging.adapters.memory.inbox import MemoryInbox
from waybill.messaging.adapters.memory.log import MemoryLog, MemorySubscription
from waybill.messaging.adapters.memory.log_writer import MemoryLogWriter
from waybill.messaging.adapters.memory.outbox import MemoryOutbox
from waybill.messaging.adapters.memory.schedule import MemorySchedule

__all__ = [
    "MemoryDatabase",
    "MemoryDeadLetters",
    "MemoryDeliveries",
    "MemoryInbox",
    "MemoryLog",
    "MemoryLogWriter",
    "MemoryOutbox",
    "MemorySchedule",
    "MemorySubscription",
    "MemoryTransaction",
]
