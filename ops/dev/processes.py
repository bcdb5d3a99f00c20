"""Define every process of the local platform: what it is, where it listens and which command runs it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.environment import Environment
from ops.dev.ports import (
    METRICS_OF_BEAT,
    METRICS_OF_BRIDGE,
    METRICS_OF_GATEWAY,
    METRICS_OF_STREAM,
    METRICS_OF_WORKERS,
    OFFSETS,
)
from settings import ROOT, SERVICES

from . import kafka, valkey

STACK_ENV_VAR = "COURSEBUS_STACK"  # set in the environment of every process of a stack, to find the stack it belongs to
CLIENT = ROOT / "clients" / "python" / "src"  # the package coursebus, a dependency of the pages that is not installed
SERVERS = ("postgres", "queue", "cache", "kafka", "mongo", "mail", "storage")  # processes that store or transport data


@dataclass(frozen=True)
class Process:
    """A program that the supervisor keeps running."""

    name: str
    command: list[str]
    description: str
    replaced_by_env: str = ""  # the setting that names an external server; if it is set, this process is not started
    platform: bool = False  # a process of this project: starts after the servers answer and the tables exist
    environ: str = ""  # additional environment variables, as NAME="value"
    database_role: str = ""  # the role as which the process logs in to the embedded PostgreSQL
    # The offset of the port that Prometheus scrapes. A process without another port counts as started when it answers
    # there.
    metrics: int | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 10  # seconds between the stop signal and SIGKILL

    def port(self, base: int) -> int | None:
        """Return the port under ``base``, or None for a process that listens nowhere."""
        offset = OFFSETS.get(self.name, self.metrics)
        return None if offset is None else base + offset

    def metrics_port(self, base: int) -> int | None:
        """Return the port that Prometheus scrapes, or None for a process without metrics."""
        return None if self.metrics is None else base + self.metrics


def enabled_processes(state_dir: Path, base: int, environ: Mapping[str, str]) -> list[Process]:
    """Return the processes to start here, given the external servers that ``environ`` names."""
    processes = [*servers(state_dir, base), *fakes(), *platform(base, environ.get("WORKER_PROCESSES", ""))]
    if environ.get("TEST_CLOCK_URL") == f"http://127.0.0.1:{base + OFFSETS['clock']}":
        processes.append(Process("clock", _module("ops.fakes.clock"), "test clock"))
    given = Environment(environ)
    processes = [process for process in processes if not given.is_set(process.replaced_by_env)]
    return processes if given.is_set("DATABASE_URL") else [_with_login(process, base) for process in processes]


def _with_login(process: Process, base: int) -> Process:
    """Return the process with its login, so that missing grants are found before production."""
    if not process.database_role:
        return process
    url = f"postgresql://{process.database_role}@127.0.0.1:{base + OFFSETS['postgres']}/coursebus"
    return replace(process, environ=f'{process.environ},DATABASE_URL="{url}"')


def servers(state_dir: Path, base: int) -> list[Process]:
    """Return the processes of SERVERS."""
    return [
        Process(
            *("postgres", _module("ops.dev.postgres"), "PostgreSQL 18"),
            replaced_by_env="DATABASE_URL",
            stop_signal="INT",  # "fast" shutdown: sessions are ended and a checkpoint is written
            stop_seconds=30,
        ),
        Process(
            *("queue", valkey.queue_command(state_dir / "queue", base + OFFSETS["queue"]), "Valkey: queues, replies"),
            replaced_by_env="REDIS_URL",
        ),
        Process(
            *("cache", valkey.cache_command(state_dir / "cache", base + OFFSETS["cache"]), "Valkey: read cache"),
            replaced_by_env="CACHE_URL",
        ),
        Process(
            *("kafka", kafka.command(), "Kafka protocol: ops.dev.kafka"),
            replaced_by_env="KAFKA_BOOTSTRAP_SERVERS",
        ),
        Process(
            *("mongo", _module("ops.dev.mongo"), "MongoDB protocol: ops.dev.mongo"),
            replaced_by_env="MONGO_URL",
        ),
        Process(*("mail", _module("ops.dev.mail"), "mail sink, SMTP"), replaced_by_env="SMTP_URL"),
        Process(
            *("storage", _module("ops.dev.storage"), "S3 protocol: ops.dev.storage"), replaced_by_env="STORAGE_URL"
        ),
    ]


def fakes() -> list[Process]:
    """Return the fakes of the external providers."""
    return [
        Process("auth0", _module("ops.fakes.auth0"), "fake of Auth0", "AUTH0_DOMAIN"),
        Process("stripe", _module("ops.fakes.stripe"), "fake of Stripe", "STRIPE_SECRET_KEY"),
        Process("yookassa", _module("ops.fakes.yookassa"), "fake of YooKassa", "YOOKASSA_SHOP_ID"),
        Process("push", _module("ops.fakes.push"), "fake of FCM and browsers", "FIREBASE_CREDENTIALS"),
    ]


def platform(base: int, worker_processes: str = "") -> list[Process]:
    """Return the project's own processes, the gateway first, because readiness waits for it.

    ``worker_processes`` is the value of WORKER_PROCESSES.
    """
    flower = ["flower", "--conf=ops/flower.py", "--address=127.0.0.1", f"--port={base + OFFSETS['flower']}"]
    return [
        Process(
            *("gateway", _module("gunicorn", "wsgi:app", "-c", "ops/gunicorn.py"), "HTTP API"),
            platform=True,
            environ=f'METRICS_PORT="{base + METRICS_OF_GATEWAY}"',
            metrics=METRICS_OF_GATEWAY,
            stop_seconds=25,  # longer than graceful_timeout in ops/gunicorn.py
        ),
        Process(
            *("stream", _module("stream"), "notification stream (SSE)"),
            platform=True,
            environ=f'METRICS_PORT="{base + METRICS_OF_STREAM}"',
            metrics=METRICS_OF_STREAM,
        ),
        Process(
            *("web", _module("gunicorn", "web:create_app()", "-c", "ops/gunicorn_web.py"), "storefront and console"),
            platform=True,
            environ=f'PYTHONPATH="{CLIENT}"',
            stop_seconds=15,
        ),
        # The range may be longer than SERVICES, but a service without a port must not be skipped silently.
        *(_worker(*each, base) for each in zip(SERVICES, METRICS_OF_WORKERS[: len(SERVICES)], strict=True)),
        *_further_workers(worker_processes, base),
        Process(
            *("bridge", _module("bridge"), "outbox to Kafka, Kafka to queues"),
            platform=True,
            environ=f'METRICS_PORT="{base + METRICS_OF_BRIDGE}"',
            database_role="coursebus_bridge",
            metrics=METRICS_OF_BRIDGE,
            stop_seconds=20,  # waits for replies of the workers and for acknowledgements of Kafka
        ),
        Process(
            *("beat", _module("beat"), "starts due jobs"),
            platform=True,
            environ=f'SERVICE="beat",METRICS_PORT="{base + METRICS_OF_BEAT}"',
            metrics=METRICS_OF_BEAT,
        ),
        Process(
            "flower",
            _module("celery", "--quiet", "-A", "celery_app", *flower),
            "Flower: tasks and workers",
            platform=True,
            environ='SERVICE="flower"',
        ),
    ]


def _further_workers(worker_processes: str, base: int) -> list[Process]:
    """Return the processes above one for each service that WORKER_PROCESSES names, as in ``progress=2,courses=2``."""
    numbers = dict[str, int]()
    for part in filter(None, worker_processes.split(",")):
        service, _, number = part.strip().partition("=")
        if service not in SERVICES or not number.isdecimal() or int(number) < 1:
            raise SystemExit(f"WORKER_PROCESSES must be such as progress=2,courses=2 and not {worker_processes!r}")
        numbers[service] = int(number)
    wanted = [(service, each) for service, number in numbers.items() for each in range(2, number + 1)]
    free = METRICS_OF_WORKERS[len(SERVICES) :]
    if len(wanted) > len(free):
        raise SystemExit(f"WORKER_PROCESSES may add {len(free)} processes at most")
    return [_worker(service, metrics, base, each) for (service, each), metrics in zip(wanted, free, strict=False)]


def _worker(service: str, metrics: int, base: int, number: int = 1) -> Process:
    return Process(
        f"worker-{service}" if number == 1 else f"worker-{service}-{number}",
        _module("workers"),
        f"worker of the {service} service",
        environ=f'SERVICE="{service}",WORKER_NUMBER="{number}",METRICS_PORT="{base + metrics}"',
        database_role=f"coursebus_{service}",
        metrics=metrics,
        platform=True,
        stop_seconds=20,
    )


def _module(*arguments: str) -> list[str]:
    # The interpreter that runs this module, independent of the PATH.
    return [sys.executable, "-m", *arguments]


def environment(state_dir: Path, base: int, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of every process that are added to ``environ``."""
    return {
        # One malloc arena halves the memory of a worker, whose threads mostly wait.
        "MALLOC_ARENA_MAX": "2",
        # Flower reads this variable; a command line would show the password to every user
        "FLOWER_BASIC_AUTH": "ops:ops",
        "KAFKA_PARTITIONS": "3",  # suffices for one bridge, and every fetch names all partitions
        "KAFKA_SESSION_TIMEOUT_MS": "3000",  # a killed bridge is replaced sooner
        "PYTHONWARNINGS": "ignore:You're running the worker",  # as root, where no other user exists
        **environ,
        "PORT_BASE": str(base),
        "STATE_DIR": str(state_dir),
        STACK_ENV_VAR: str(state_dir),
        "PYTHONUNBUFFERED": "1",  # a killed process has written its last line
        "PYTHONDONTWRITEBYTECODE": "",  # off: without compiled modules a killed process restarts half a second later
    }
