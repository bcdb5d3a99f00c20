"""Celery's way to Redis and to Flower, as we have it."""

from kombu import Connection

import settings
from celery_app import celery_app
from models.broker import Transport
from tests.support.waiting import eventually
from workers._consumer import Consumer


def test_a_channel_keeps_its_client_until_its_connections_are_others():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._pool = None  # noqa: SLF001 as kombu leaves it after a lost connection
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()


def test_what_is_sent_by_our_transport_is_read_by_kombus_own():
    with celery_app.connection_for_write() as ours, Connection(settings.REDIS_URL) as theirs:
        assert isinstance(ours.transport, Transport)
        with ours.SimpleQueue("test_broker") as out, theirs.SimpleQueue("test_broker") as received:
            out.put({"n": 1})
            message = received.get(timeout=10)
            assert message.payload == {"n": 1}
            message.ack()


def test_whoever_dies_while_looking_for_what_others_left_keeps_nobody_from_it_for_long():
    with celery_app.connection_for_read() as connection, connection.channel() as channel:
        db = channel.client
        key, left_behind_seconds = channel.unacked_mutex_key, channel.unacked_mutex_expire
        db.delete(key, channel.unacked_key, channel.unacked_index_key)
        try:
            connection.SimpleQueue("test_left", channel=channel).put({"n": 1})
            assert channel.basic_get("test_left")  # popped, and its worker dies
            db.zadd(channel.unacked_index_key, dict.fromkeys(db.zrange(channel.unacked_index_key, 0, -1), 1.0))
            assert db.lock(key, timeout=left_behind_seconds).acquire(blocking=False)  # who looks dies too
            eventually(lambda: channel.qos.restore_visible(interval=1) or db.llen("test_left"))
        finally:
            db.delete(key, "test_left")


def test_flower_is_told_of_many_tasks_at_once():
    class Hub:
        asked: list = []  # noqa: RUF012 of one test

        def call_later(self, _seconds: float, tell) -> None:
            self.asked.append(tell)

    class Told(Consumer):
        flushed = 0

        def __init__(self) -> None:
            self.hub = Hub()

        def _flush_events(self) -> None:
            self.flushed += 1

    consumer = Told()
    for _ in range(3):
        consumer.on_send_event_buffered()
    assert len(Hub.asked) == 1
    Hub.asked.pop()()
    assert consumer.flushed == 1
    consumer.on_send_event_buffered()
    assert len(Hub.asked) == 1
