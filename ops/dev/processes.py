"""Every process of the local platform, in one table: what it is, where it listens, by which command it runs."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.dev.ports import METRICS_OF_BRIDGE, METRICS_OF_GATEWAY, METRICS_OF_STREAM, METRICS_OF_WORKERS, OFFSETS
from settings import SERVICES

from . import kafka, valkey

STACK_ENV_VAR = "COURSEBUS_STACK"  # in the environment of every process of a stack: whose it is
SERVERS = ("postgres", "queue", "cache", "kafka", "mongo", "mail")  # what keeps or carries data


@dataclass(frozen=True)
class Process:
    """One program that the supervisor keeps up."""

    name: str
    command: list[str]
    description: str
    replaced_by_env: str = ""  # the variable that points at the real thing; where it is set, this is not started
    platform: bool = False  # one of our own: starts when the servers answer and the tables are there
    environ: str = ""  # what it has in its environment besides, as NAME="value"
    # The offset of the port where Prometheus asks it; one without another port has started when it answers there.
    metrics: int | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 10  # how long it may take to end in peace

    def port(self, base: int) -> int | None:
        """Where it listens under this ``PORT_BASE``; None for a process that nobody calls."""
        offset = OFFSETS.get(self.name, self.metrics)
        return None if offset is None else base + offset

    def metrics_port(self, base: int) -> int | None:
        """Return where Prometheus asks the process; None for one that has no numbers."""
        return None if self.metrics is None else base + self.metrics


def enabled_processes(state_dir: Path, base: int, environ: Mapping[str, str]) -> list[Process]:
    """The processes that ``environ`` leaves to be run here."""
    processes = [*servers(state_dir, base), *fakes(), *platform(state_dir, base)]
    if environ.get("TEST_CLOCK_URL") == f"http://127.0.0.1:{base + OFFSETS['clock']}":
        processes.append(Process("clock", _module("ops.fakes.clock"), "a clock that tests move"))
    return [process for process in processes if not environ.get(process.replaced_by_env, "").strip()]


def servers(state_dir: Path, base: int) -> list[Process]:
    """What keeps or carries data: SERVERS."""
    return [
        Process(
            *("postgres", _module("ops.dev.postgres"), "PostgreSQL 18"),
            replaced_by_env="DATABASE_URL",
            stop_signal="INT",  # its "fast" shutdown: open sessions are ended, and a checkpoint is written
            stop_seconds=30,
        ),
        Process(
            *("queue", valkey.queue_command(state_dir / "queue", base + OFFSETS["queue"]), "Valkey: queues, replies"),
            replaced_by_env="REDIS_URL",
        ),
        Process(
            *("cache", valkey.cache_command(state_dir / "cache", base + OFFSETS["cache"]), "Valkey: stored reads"),
            replaced_by_env="CACHE_URL",
        ),
        Process(
            *("kafka", kafka.command(base + OFFSETS["kafka"]), "Kafka protocol: Tansu"),
            replaced_by_env="KAFKA_BOOTSTRAP_SERVERS",
        ),
        Process(
            *("mongo", _module("ops.dev.mongo"), "MongoDB protocol: NX-27017"),
            replaced_by_env="MONGO_URL",
        ),
        Process(*("mail", _module("ops.dev.mail"), "mail sink, SMTP"), replaced_by_env="SMTP_URL"),
    ]


def fakes() -> list[Process]:
    """What plays the companies that the platform calls."""
    return [
        Process("auth0", _module("ops.fakes.auth0"), "fake of Auth0", "AUTH0_DOMAIN"),
        Process("stripe", _module("ops.fakes.stripe"), "fake of Stripe", "STRIPE_SECRET_KEY"),
        Process("yookassa", _module("ops.fakes.yookassa"), "fake of YooKassa", "YOOKASSA_SHOP_ID"),
        Process("push", _module("ops.fakes.push"), "fake of FCM and browsers", "FIREBASE_CREDENTIALS"),
    ]


def platform(state_dir: Path, base: int) -> list[Process]:
    """The platform's own processes; the gateway first, whose answer is waited for."""
    schedule = str(state_dir / "beat" / "schedule")
    flower = ["flower", "--conf=ops/flower.py", "--address=127.0.0.1", f"--port={base + OFFSETS['flower']}"]
    return [
        Process(
            *("gateway", _module("gunicorn", "wsgi:app", "-c", "ops/gunicorn.py"), "the API"),
            platform=True,
            environ=f'METRICS_PORT="{base + METRICS_OF_GATEWAY}"',
            metrics=METRICS_OF_GATEWAY,
            stop_seconds=25,  # longer than its own graceful_timeout
        ),
        Process(
            *("stream", _module("stream"), "the stream of notifications"),
            platform=True,
            environ=f'METRICS_PORT="{base + METRICS_OF_STREAM}"',
            metrics=METRICS_OF_STREAM,
        ),
        # The range may be longer than SERVICES, but a service without a port must not be left out silently.
        *(_worker(*each, base) for each in zip(SERVICES, METRICS_OF_WORKERS[: len(SERVICES)], strict=True)),
        Process(
            *("bridge", _module("bridge"), "outbox to Kafka, Kafka to queues"),
            platform=True,
            environ=f'METRICS_PORT="{base + METRICS_OF_BRIDGE}"',
            metrics=METRICS_OF_BRIDGE,
            stop_seconds=20,  # it hears what the workers have in hand, and waits for what Kafka has
        ),
        Process("beat", _celery("beat", "-s", schedule), "pokes due jobs", platform=True),
        Process("flower", _celery(*flower), "Flower: what the workers do", platform=True),
    ]


def _worker(service: str, metrics: int, base: int) -> Process:
    options = ["-P", "threads", "-c", "4", "-Q", service, "-n", f"{service}@%h", "-E"]
    # Gossip and mingle are talk among workers, which none of ours listens to.
    worker = _celery("worker", *options, "--without-gossip", "--without-mingle")
    return Process(
        f"worker-{service}",
        worker,
        f"the work of {service}",
        environ=f'SERVICE="{service}",METRICS_PORT="{base + metrics}"',
        metrics=metrics,
        platform=True,
        stop_seconds=20,
    )


def _celery(*arguments: str) -> list[str]:
    return _module("celery", "--quiet", "-A", "celery_app", *arguments)  # no banner among the log lines


def _module(*arguments: str) -> list[str]:
    # Of the interpreter that runs this: whatever is on the PATH does not matter.
    return [sys.executable, "-m", *arguments]


def environment(state_dir: Path, base: int, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the processes find in their environment, above what the caller has in ``environ``."""
    return {
        # One arena: threads that wait need no heap of their own. It halves what a worker takes.
        "MALLOC_ARENA_MAX": "2",
        "FLOWER_BASIC_AUTH": "ops:ops",  # Flower reads it by this name; a command line would show it to everybody
        "PYTHONWARNINGS": "ignore:You're running the worker",  # as root, where there is nobody else
        **environ,
        "PORT_BASE": str(base),
        "STATE_DIR": str(state_dir),
        STACK_ENV_VAR: str(state_dir),
        "PYTHONUNBUFFERED": "1",  # a killed process has written its last line
    }
