"""The `<topic>.DLT` record of a dead letter, with the headers that Spring Kafka gives one.

Names and encodings: spring-kafka's KafkaHeaders; integers are big-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgspec

from waybill.messaging.core.message import DEAD_LETTER_SUFFIX
from waybill.messaging.core.outbox_limits import MESSAGE_BYTES_MAX, size_of

if TYPE_CHECKING:
    from uuid import UUID

    from waybill.messaging.core.message import Message
    from waybill.messaging.core.ports import DeadLetter

ERROR_MESSAGE_CHARS_MAX = 2_000
STACKTRACE_CHARS_MAX = 8_000
OMITTED_HEADER = "waybill-value-omitted"
REDRIVES_HEADER = "x-dlq-replay-count"

_EXCEPTION_TEXTS = ("kafka_dlt-exception-stacktrace", "kafka_dlt-exception-message")


def clipped(text: str, chars_max: int) -> str:
    """At most so many characters, and none that a database or a header would refuse."""
    if len(text) > chars_max:
        text = text[: chars_max - 1] + "…"
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()


def dead_letter_record(
    letter: DeadLetter,
    *,
    id_: UUID,
    redrives: int,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    suffix: str = DEAD_LETTER_SUFFIX,
) -> Message:
    """The record: original key, value and headers, and where and why it failed.

    It has an id of its own (two consumers may fail on one message), the original's is its cause;
    and no aggregate version, since it repeats one. Never larger than the limit: the table keeps
    what has to be left out here.
    """
    record, original = letter.record, letter.record.message
    headers = {
        **original.headers,
        "kafka_dlt-original-topic": original.topic.encode(),
        "kafka_dlt-original-partition": struct.pack(">i", record.lane),
        "kafka_dlt-original-offset": struct.pack(">q", record.seq),
        "kafka_dlt-original-timestamp": struct.pack(
            ">q", round(original.occurred_at.timestamp() * 1000)
        ),
        "kafka_dlt-original-timestamp-type": b"CreateTime",
        "kafka_dlt-original-consumer-group": letter.consumer.encode(),
        "kafka_dlt-exception-fqcn": letter.error_type.encode(errors="replace"),
        "kafka_dlt-exception-cause-fqcn": (letter.cause_type or letter.error_type).encode(
            errors="replace"
        ),
        "kafka_dlt-exception-message": clipped(
            letter.error_message, ERROR_MESSAGE_CHARS_MAX
        ).encode(),
        "kafka_dlt-exception-stacktrace": clipped(letter.stacktrace, STACKTRACE_CHARS_MAX).encode(),
    }
    if redrives:
        headers[REDRIVES_HEADER] = str(redrives).encode()
    message = msgspec.structs.replace(
        original,
        id=id_,
        topic=original.topic + suffix,
        causation_id=original.id,
        aggregate_version=None,
        headers=headers,
    )
    return _fitted(message, message_bytes_max)


def _fitted(message: Message, bytes_max: int) -> Message:
    """Leave out texts of the error, then headers and the value, until an outbox takes it."""
    headers = dict(message.headers)
    for name in _EXCEPTION_TEXTS:
        if size_of(message) <= bytes_max:
            return message
        headers[name] = b""
        message = msgspec.structs.replace(message, headers=dict(headers))
    if size_of(message) <= bytes_max:
        return message
    kept = {name: value for name, value in headers.items() if name.startswith("kafka_dlt-")}
    kept[OMITTED_HEADER] = str(len(message.value)).encode()
    return msgspec.structs.replace(message, headers=kept, value=b"")
