"""Measure the cost of a cached read: ``python -m bench.reads``.

The results are ratios to a bare Flask view that returns the same bytes from one GET of the cache, in one run on the
same server. Servers, gateway and clients run on this machine. Each round measures all subjects one after the other, so
that other load affects all of them; the median round counts. CPU is the CPU time of the server's processes.
"""

import argparse
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from ops.dev.ports import free_base

# Set before the first import that reads the settings.
BASE = free_base()
STATE_DIR = Path(tempfile.mkdtemp(prefix="coursebus-bench-"))
STATE_DIR.chmod(0o711)
os.environ.update(PORT_BASE=str(BASE), STATE_DIR=str(STATE_DIR), RATE_LIMITS="off")

import psutil  # noqa: E402
import requests  # noqa: E402

import settings  # noqa: E402
from api.conditional_requests import encode_page  # noqa: E402
from bench.celery_baseline import BYTES, KEY  # noqa: E402
from bench.targets import report  # noqa: E402
from core import cache  # noqa: E402
from core.cache import CachedView  # noqa: E402
from ops.dev.stack import Stack  # noqa: E402

CLIENTS = 16
CATALOGUE_PATH = "/v1/courses?category=music&limit=20"
SERVERS = {
    "gunicorn": ["gunicorn", "{app}", "-c", "ops/gunicorn.py", "-b", "127.0.0.1:{port}"],
    # Not installed: see decision 0110.
    "granian": [
        *("granian", "{app}", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}"),
        *("--workers", "2", "--blocking-threads", "8", "--no-ws", "--log-level", "warning"),
    ],
}


@dataclass
class Subject:
    """A request and its measurements."""

    name: str
    port: int
    request: bytes
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cost(self) -> float:
        return statistics.median(self.cpu_ms)


class Connection:
    """A keep-alive connection with one request in flight, on a plain socket to keep the client cheap."""

    def __init__(self, subject: Subject) -> None:
        self.socket = socket.create_connection(("127.0.0.1", subject.port))
        self.request = subject.request
        self.left = -1

    def send(self) -> None:
        self.socket.sendall(self.request)
        self.left = -1

    def receive(self) -> bool:
        """Read from the socket; return whether the response is complete."""
        data = self.socket.recv(65536)
        if not data:
            sys.exit("The server has closed a connection.")
        if self.left < 0:
            head, _, body = data.partition(b"\r\n\r\n")
            status = head[9:12]
            if status not in {b"200", b"304"}:
                sys.exit(f"{self.request!r} is answered by {data[:500]!r}")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.left = (int(length) if length and status == b"200" else 0) - len(body)
        else:
            self.left -= len(data)
        return self.left <= 0


def load(subject: Subject, seconds: float) -> int:
    """Keep CLIENTS requests in flight for ``seconds``; return the number of responses."""
    answered = 0
    with selectors.DefaultSelector() as selector:
        connections = [Connection(subject) for _ in range(CLIENTS)]
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key, _ in selector.select(0.5):
                connection = key.data
                if connection.receive():
                    answered += 1
                    connection.send()
        for connection in connections:
            connection.socket.close()
    return answered


@contextmanager
def served(server: str, app: str, port: int) -> Iterator[psutil.Process]:
    command = [part.format(app=app, port=port) for part in SERVERS[server]]
    with subprocess.Popen([sys.executable, "-m", *command], cwd=settings.ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            process.kill()
            sys.exit(f"{server} does not listen.")
        try:
            yield psutil.Process(process.pid)
        finally:
            for each in family(psutil.Process(process.pid)):
                each.kill()


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in family(process))


def measure(subject: Subject, process: psutil.Process, seconds: float) -> None:
    load(subject, 0.2)
    before, started = cpu_seconds(process), time.monotonic()
    answered = load(subject, seconds)
    subject.rates.append(answered / (time.monotonic() - started))
    subject.cpu_ms.append((cpu_seconds(process) - before) / answered * 1000)


def get(path: str, **headers: str) -> bytes:
    named = {"Host": "bench", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return "\r\n".join(
        [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    ).encode()


def token_of(sub: str) -> str:
    claims = {
        "iss": settings.AUTH0_ISSUER,
        "aud": settings.AUTH0_AUDIENCE,
        "sub": sub,
        "exp": int(time.time()) + 3600,
        "permissions": [],
    }
    minted = requests.post(f"{settings.AUTH0_ISSUER}__mint", json={"claims": claims}, timeout=10)
    return str(minted.json()["token"])


def fill(sub: str, user_id: str) -> None:
    """Fill the cache: a page of the catalogue (valid for 60 s), a course and a profile."""
    cache.put_page(
        cache.page_key(cache.CATALOGUE_VERSION_KEY, CATALOGUE_PATH), 0, encode_page("", BYTES), stale_seconds=600
    )
    cache.put(cache.course_key("bench"), CachedView(1, BYTES))
    cache.put(cache.identity_key(sub), CachedView(1, user_id.encode()))
    cache.put(cache.profile_key(user_id), CachedView(1, b'{"name":"Bench","roles":["learner"]' + b" " * 300 + b"}"))
    cache.cache_redis().set(KEY, BYTES)


def subjects(port: int, bare_port: int, sub: str) -> list[Subject]:
    return [
        Subject("bare view", bare_port, get("/bare")),
        Subject("bare view, one GET of the cache", bare_port, get("/from-cache")),
        Subject("catalogue page", port, get(CATALOGUE_PATH)),
        Subject("course", port, get("/v1/courses/bench")),
        Subject("/v1/me", port, get("/v1/me", Authorization=f"Bearer {token_of(sub)}")),
        Subject("304", port, get("/v1/courses/bench", If_None_Match='"1"')),
    ]


WANTED = 0.9  # of the rate of a bare view


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--server", choices=SERVERS, default="gunicorn")
    args = arguments.parse_args()
    stack = Stack(STATE_DIR, BASE, only=["queue", "cache", "auth0"], environ=os.environ)
    sub, user_id = f"auth0|{uuid4().hex}", str(uuid4())
    try:
        stack.start()
        with (
            served(args.server, "wsgi:app", BASE) as gateway,
            served(args.server, "bench.celery_baseline:app", BASE + 1) as bare_server,
        ):
            measured = subjects(BASE, BASE + 1, sub)
            for _ in range(args.rounds):
                fill(sub, user_id)
                for subject in measured:
                    measure(subject, bare_server if subject.port == BASE + 1 else gateway, args.seconds)
            print_results(args.server, measured, gateway)
    finally:
        stack.reset()


def print_results(server: str, measured: list[Subject], gateway: psutil.Process) -> None:
    bare_rate, bare_cost = measured[1].rate, measured[1].cost
    print(f"{server}, {CLIENTS} clients, {len(BYTES)} bytes")
    for subject in measured:
        ratio, by_cpu = subject.rate / bare_rate, bare_cost / subject.cost
        rates = f"{subject.rate:7,.0f}/s  {subject.cost:.2f} ms CPU"
        print(f"{subject.name:32} {rates}   {ratio:.2f} by rate, {by_cpu:.2f} by CPU")
    for subject in measured[2:]:
        report(f"{subject.name} / bare view with one GET of the cache", subject.rate / bare_rate, WANTED)
    memory = max(each.memory_info().rss for each in family(gateway)) / 2**20
    print(f"the largest process of the gateway: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
