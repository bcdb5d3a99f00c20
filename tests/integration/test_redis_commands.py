"""A command on a connection that breaks: executed once, or repeated, as its caller has chosen."""

import socket
import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis import Redis
from redis.exceptions import RedisError

from core.redis import queue_redis
from core.redis_commands import execute_all_once, execute_once, read


@pytest.fixture
def client() -> Iterator[Redis]:
    """Return a client whose connections break after the first INCR has been executed and before its reply arrives."""
    server = queue_redis().connection_pool.connection_kwargs
    target = (server["host"], server["port"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        breaks = iter([True])

        def forward(client: socket.socket) -> None:
            with client, socket.create_connection(target) as upstream:
                while sent := client.recv(65536):
                    upstream.sendall(sent)
                    reply = upstream.recv(65536)
                    if b"INCR" in sent and next(breaks, False):
                        return
                    client.sendall(reply)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the listener is closed
                threading.Thread(target=forward, args=[connection], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        with Redis(port=listener.getsockname()[1], db=server["db"]) as redis:
            yield redis
        listener.shutdown(socket.SHUT_RDWR)


def test_command_is_not_repeated_after_its_connection_breaks(client: Redis):
    key = uuid4().hex
    read(client, "PING")  # the connection exists already

    with pytest.raises(RedisError):
        execute_once(client, "INCR", key)

    assert queue_redis().getdel(key) == b"1"
    assert execute_once(client, "INCR", key) == 1


def test_read_is_repeated_after_its_connection_breaks(client: Redis):
    key = uuid4().hex
    read(client, "PING")

    assert read(client, "INCR", key) == 2


def test_refused_command_does_not_shift_the_replies_to_later_ones():
    with pytest.raises(RedisError):
        execute_all_once(queue_redis(), [("ECHO", "a"), ("NO SUCH COMMAND",), ("ECHO", "b")])

    assert execute_all_once(queue_redis(), [("ECHO", "c"), ("ECHO", "d")]) == [b"c", b"d"]


def test_closed_idle_connection_is_replaced_before_a_command_is_sent():
    key = uuid4().hex
    execute_once(queue_redis(), "SET", key, 1)
    queue_redis().client_kill_filter(_type="normal", skipme=True)

    assert execute_once(queue_redis(), "INCR", key) == 2
