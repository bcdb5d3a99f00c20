"""Clients and Celery follow the master that Sentinels name, with a user of an ACL, after a failover as well."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

import settings
from ops.dev import valkey
from ops.dev.child_process import popen_with_parent
from ops.dev.ports import free_base, is_open
from tests.support.polling import eventually

PASSWORD, SENTINEL_PASSWORD = "pw-of-the-platform", "pw-of-the-sentinels"
ACL = f"user coursebus on >{PASSWORD} ~* &* +@all"
# Puts a message into a queue and a value into Redis, and reads both, once a line of the input.
SCRIPT = """
import sys
from celery_app import celery_app
from core.redis import queue_redis
from core.redis_commands import read
for line in sys.stdin:
    try:
        queue_redis().set("written", line.strip())
        with celery_app.connection_for_write() as connection, connection.SimpleQueue("sentinel_test") as queue:
            queue.put({"n": line.strip()})
            message = queue.get(timeout=5)
            message.ack()
        print(message.payload["n"], read(queue_redis(), "GET", "written").decode(), flush=True)
    except Exception as error:
        print("failed", type(error).__name__, flush=True)
"""


class Group:
    """A master, its replica and one Sentinel."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        base = free_base()
        self.master, self.replica, self.sentinel = base, base + 1, base + 2
        login = (
            f"{ACL}\nmasteruser coursebus\nmasterauth {PASSWORD}\nrequirepass {PASSWORD}\nrepl-diskless-sync-delay 0\n"
        )
        replica_of = f"replicaof 127.0.0.1 {self.master}\n"
        watch = (
            f"requirepass {SENTINEL_PASSWORD}\nsentinel monitor queue 127.0.0.1 {self.master} 1\n"
            f"sentinel auth-user queue coursebus\nsentinel auth-pass queue {PASSWORD}\n"
            "sentinel down-after-milliseconds queue 500\nsentinel failover-timeout queue 2000\n"
        )
        self._processes = {
            port: stack.enter_context(self._start(directory / str(port), port, config, *options))
            for port, config, options in (
                (self.master, login, ()),
                (self.replica, login + replica_of, ()),
                (self.sentinel, watch, ("--sentinel",)),
            )
        }
        stack.callback(self.stop)

    @staticmethod
    def _start(home: Path, port: int, config: str, *options: str) -> "subprocess.Popen[bytes]":
        home.mkdir()
        (home / "server.conf").write_text(f"bind 127.0.0.1\nport {port}\ndir {home}\n{config}")
        binary = valkey.queue_command(home, port)[0]
        process = popen_with_parent([binary, str(home / "server.conf"), *options], stdout=subprocess.DEVNULL)
        eventually(lambda: is_open(port), f"the server at {port}")
        return process

    @property
    def url(self) -> str:
        login = f"coursebus:{PASSWORD}"
        sentinels = f"127.0.0.1:{self.sentinel},127.0.0.1:1"  # the second one does not answer
        return f"redis+sentinel://{login}@{sentinels}/0?master=queue&sentinel_password={SENTINEL_PASSWORD}"

    def replicas(self) -> int:
        with Redis(port=self.sentinel, password=SENTINEL_PASSWORD, decode_responses=True) as client:
            return len([each for each in client.sentinel_slaves("queue") if not each["is_disconnected"]])

    def kill_master(self) -> None:
        self._processes[self.master].kill()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    with ExitStack() as stack:
        group = Group(tmp_path, stack)
        eventually(lambda: group.replicas() == 1, "the replica")
        yield group


def test_clients_follow_the_master(group: Group):
    environ = {"REDIS_URL": group.url, "SERVICE": "beat"}
    with popen_with_parent(
        [sys.executable, "-c", SCRIPT],
        cwd=settings.ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:

        def write(text: str) -> str:
            print(text, file=client.stdin, flush=True)
            return client.stdout.readline().strip()

        try:
            assert write("before") == "before before"
            group.kill_master()
            eventually(lambda: write("after") == "after after", "the new master", seconds=30)
        finally:
            client.kill()

    with Redis(port=group.replica, username="coursebus", password=PASSWORD) as promoted:
        assert promoted.get("written") == b"after"
