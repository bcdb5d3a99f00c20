"""Send a batch of events to Kafka; report which were acknowledged and which are refused permanently."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from sqlalchemy import Row

from bridge import kafka
from core import tracing
from core.fault_injection import crash_point

from .outbox_rows import headers_of, key_of

# Their sum must be below the idle timeout of the relay's connection (15 s), or the relay loses its leadership.
FLUSH_SECONDS = 8
RESEND_ALONE_SECONDS = 3  # for all single resends of one batch; the rest is left to the next batch
TOPIC_CHECK_SECONDS = 0.5

# Permanent: sending the same event again gets the same refusal. All other errors concern the broker or the network and
# are retried.
PERMANENT_ERRORS = {
    KafkaError.MSG_SIZE_TOO_LARGE: "larger than message.max.bytes of the producer or max.message.bytes of the topic",
    KafkaError.RECORD_LIST_TOO_LARGE: "larger than a segment of the log",
    KafkaError.INVALID_MSG: "its checksum or format is not accepted",
    KafkaError.INVALID_MSG_SIZE: "its size is not accepted",
    KafkaError.INVALID_RECORD: "the broker's own validation rejects it, for example a missing key",
    KafkaError.INVALID_TIMESTAMP: "the clocks of the bridge and the broker differ by more than the topic allows",
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: "the topic's message format has no headers",
    KafkaError.POLICY_VIOLATION: "a policy of the broker forbids it",
    # These concern a whole topic. Its events are quarantined, and other topics continue. After the ACL or the name is
    # corrected, `quarantine release --all` publishes them in order.
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the bridge may not write to the topic",
    KafkaError.TOPIC_EXCEPTION: "the name of the topic is not accepted",
}

DeliveryReports = dict[int, KafkaError | None]  # by seq; None is an acknowledgement


@dataclass
class BatchResult:
    """The result of sending a batch."""

    acknowledged: list[int] = field(default_factory=list)  # seqs; for each key a prefix without gaps
    refused: dict[int, str] = field(default_factory=dict)  # reason by seq
    is_complete: bool = True  # False: the outcome of some events is unknown


class BatchSender:
    """Sends batches with one producer. Must be discarded after an exception."""

    def __init__(self, producer: Producer, check_topics: Callable[[], None]) -> None:
        self._producer = producer
        self._check_topics = check_topics

    def send(self, rows: Sequence[Row[Any]]) -> BatchResult:
        """Send the rows to Kafka in order. After a refused event, its key stops and the other keys continue.

        Raises KafkaException if the producer can no longer be used.
        """
        sent, reports = BatchResult(), DeliveryReports()
        stopped: set[tuple[str, str]] = set()
        for row in rows:
            if stopped and key_of(row) in stopped:
                continue
            if error := self._produce(row, reports):
                sent.refused[row.seq] = _reason(error)
                stopped.add(key_of(row))
        crash_point("produced, not acknowledged")
        self._flush()
        self._evaluate_reports(rows, reports, sent)
        return sent

    def _evaluate_reports(self, rows: Sequence[Row[Any]], reports: DeliveryReports, sent: BatchResult) -> None:
        """Fill ``sent`` from the delivery reports. Events behind a gap in their key are left to a later batch."""
        stopped: set[tuple[str, str]] = set()
        out_of_order: set[tuple[str, str]] = set()
        alone_until = time.monotonic() + RESEND_ALONE_SECONDS
        for row in rows:
            key, error = key_of(row), reports.get(row.seq, _NO_REPORT)
            if row.seq in sent.refused:
                stopped.add(key)
            if key in stopped:
                continue
            if error is None and key not in out_of_order:
                sent.acknowledged.append(row.seq)
            elif error is None:  # Kafka stored it before an earlier event of its key: publish it again
                stopped.add(key)
            elif error.code() not in PERMANENT_ERRORS:
                stopped.add(key)
                sent.is_complete = False
            elif time.monotonic() < alone_until and self._resend_alone(row, reports, sent):
                out_of_order.add(key)
            else:
                stopped.add(key)

    def _resend_alone(self, row: Row[Any], reports: DeliveryReports, sent: BatchResult) -> bool:
        """Send one event alone, because Kafka refuses a whole batch for one event; return whether it succeeded."""
        error = self._produce(row, reports)
        if error is None:
            self._flush(RESEND_ALONE_SECONDS)
            error = reports.get(row.seq, _NO_REPORT)
        if error is None:
            sent.acknowledged.append(row.seq)
        elif error.code() in PERMANENT_ERRORS:
            sent.refused[row.seq] = _reason(error)
        else:
            sent.is_complete = False
        return error is None

    def _produce(self, row: Row[Any], reports: DeliveryReports) -> KafkaError | None:
        """Produce one event; return the error if it is permanent, else None. Raises KafkaException for other errors."""
        topic, span = kafka.topic_of(row.aggregatetype), None
        if row.traceparent and tracing.is_on():
            attributes = {"messaging.system": "kafka", "coursebus.event_id": row.id, "coursebus.event_type": row.type}
            span = tracing.Span(f"publish {topic}", "producer", row.traceparent, attributes)

        def report(error: KafkaError | None, message: Message) -> None:
            if span:
                _end(span, error)
            # An acknowledgement without an offset does not count.
            reports[row.seq] = error or (None if message.offset() is not None else _NO_REPORT)

        reports.pop(row.seq, None)
        try:
            self._producer.produce(
                topic,
                key=row.aggregateid,
                value=row.payload,
                headers=[*headers_of(row, span.traceparent if span else None)],
                on_delivery=report,
            )
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() not in PERMANENT_ERRORS:
                raise
            return error
        return None

    def _flush(self, seconds: float = FLUSH_SECONDS) -> None:
        give_up_at = time.monotonic() + seconds
        while self._producer.flush(TOPIC_CHECK_SECONDS) and time.monotonic() < give_up_at:
            # If the broker lost its log, it no longer knows the producer, whose flush then waits without an error.
            self._check_topics()


_NO_REPORT = KafkaError(KafkaError._MSG_TIMED_OUT)  # noqa: SLF001 has no public name


def _end(span: tracing.Span, error: KafkaError | None) -> None:
    if error:
        span.fail(error.name())
    span.end()


def _reason(error: KafkaError) -> str:
    return f"{error.name()}: {PERMANENT_ERRORS[error.code()]}"
