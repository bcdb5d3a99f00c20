"""The Celery transport for Redis, and the batched events for Flower."""

import json
import socket
from unittest.mock import Mock

import pytest
import redis
from kombu import Connection

import settings
from celery_app import celery_app
from core.messaging.celery_transport import Transport
from tests.support.polling import eventually
from workers.runtime.consumer import Consumer


def test_channel_reuses_client_until_pool_changes():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._pool = None  # noqa: SLF001 the state of kombu after a lost connection
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()


def test_message_of_our_transport_is_read_by_kombu():
    with celery_app.connection_for_write() as ours, Connection(settings.REDIS_URL) as theirs:
        assert isinstance(ours.transport, Transport)
        with ours.SimpleQueue("test_broker") as out, theirs.SimpleQueue("test_broker") as received:
            out.put({"n": 1})
            message = received.get(timeout=10)
            assert message.payload == {"n": 1}
            message.ack()


def test_taken_message_is_restored_until_it_is_acknowledged():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        db, queue = channel.client, connection.SimpleQueue("test_taken", channel=channel)
        keys = channel.unacked_key, channel.unacked_index_key
        try:
            queue.put({"n": "ü"})
            taken = queue.get(timeout=10)
            [[message, _exchange, _routing_key]] = map(json.loads, db.hvals(channel.unacked_key))
            db.zadd(channel.unacked_index_key, {taken.delivery_tag: 1.0})  # since long ago
            channel.qos.restore_visible(interval=1)
            again = queue.get(timeout=10)
            again.ack()

            assert taken.payload == again.payload == {"n": "ü"}
            assert message["properties"]["delivery_tag"] == taken.delivery_tag
            eventually(lambda: not db.exists("test_taken", *keys), "the acknowledgement")
        finally:
            db.delete("test_taken", *keys)


def test_refused_command_does_not_shift_the_replies_to_later_ones():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        channel.send(("PING",), ("NO SUCH COMMAND",), ("PING",))
        with pytest.raises(redis.ResponseError):
            channel.send(("PING",))

        channel.send(("SET", "test_sent", "c"))
        eventually(lambda: channel.client.getdel("test_sent") == b"c", "the last command")


def test_broken_connection_is_replaced():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        channel.send(("PING",))
        channel._reused_connection._socket.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 as a restart of Redis does
        with pytest.raises(redis.ConnectionError):
            channel.send(("PING",))

        channel.send(("SET", "test_sent", "c"))
        eventually(lambda: channel.client.getdel("test_sent") == b"c", "the last command")


def test_closed_connection_raises_the_error_that_celery_ignores(monkeypatch: pytest.MonkeyPatch):
    with celery_app.connection_for_read() as connection:
        channel = connection.default_channel
        with monkeypatch.context() as patch:
            patch.setattr(channel.connection, "client", None)  # as kombu leaves it after the first close
            with pytest.raises(redis.ConnectionError), channel.conn_or_acquire():
                pass


def test_unacked_mutex_expires_quickly():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        db = channel.client
        key, left_behind_seconds = channel.unacked_mutex_key, channel.unacked_mutex_expire
        db.delete(key, channel.unacked_key, channel.unacked_index_key)
        try:
            connection.SimpleQueue("test_left", channel=channel).put({"n": 1})
            assert channel.basic_get("test_left")  # popped by a worker that then dies
            db.zadd(channel.unacked_index_key, dict.fromkeys(db.zrange(channel.unacked_index_key, 0, -1), 1.0))
            # A worker that restores messages dies too.
            assert db.lock(key, timeout=left_behind_seconds).acquire(blocking=False)
            eventually(lambda: channel.qos.restore_visible(interval=1) or db.llen("test_left"))
        finally:
            db.delete(key, "test_left")


def test_flower_events_are_flushed_in_batches():
    class Hub:
        callbacks: list = []  # noqa: RUF012 used by one test only

        def call_later(self, _seconds: float, callback) -> None:
            self.callbacks.append(callback)

    class RecordingConsumer(Consumer):
        flushed = 0

        connection_errors = ()
        blueprint = Mock()

        def __init__(self) -> None:
            self.hub = Hub()

        def _flush_events(self) -> None:
            self.flushed += 1

    consumer = RecordingConsumer()
    for _ in range(3):
        consumer.on_send_event_buffered()
    assert len(Hub.callbacks) == 1
    Hub.callbacks.pop()()
    assert consumer.flushed == 1
    consumer.on_send_event_buffered()
    assert len(Hub.callbacks) == 1
    consumer.stop()
    assert consumer.flushed == 2
