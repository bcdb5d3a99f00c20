"""Spans are sent to a collector if one is set, also after a fork, and cost nothing otherwise."""

import subprocess
import sys
import timeit

import pytest

import settings
from core import tracing
from tests.support.collector import running_collector

# A process that sends a span, forks, and sends one in each of both.
FORKS = """
import os
from core import tracing

tracing.configure("gateway")
with tracing.span("before", "server", parent=None, attributes={"url": "/"}):
    pass
child = os.fork()
try:
    with tracing.span("after" if child else "in the child", "server", parent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"):
        raise ValueError("ann@example.com")
except ValueError:
    pass
if child:
    os.waitpid(child, 0)
"""


def run(script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=settings.ROOT, env=environ, capture_output=True, text=True, check=False)


def test_spans_of_a_forked_process_are_sent():
    with running_collector() as collector:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "X-Key=a%20b"}
        completed = run(FORKS, **endpoint)

    assert completed.returncode == 0, completed.stderr
    assert {headers["x-key"] for headers in collector.headers} == {"a b"}
    assert sorted((each.process, each.name, each.has_failed) for each in collector.spans) == [
        ("coursebus-gateway", "after", True),
        ("coursebus-gateway", "before", False),
        ("coursebus-gateway", "in the child", True),
    ]
    assert {each.parent_id for each in collector.spans} == {"", "b" * 16}


@pytest.mark.parametrize(("flags", "number"), [("00", 0), ("01", 1)])
def test_sender_of_a_traceparent_decides_whether_it_is_sampled(flags, number):
    script = f"""
from core import tracing
tracing.configure("gateway")
for parent in ("00-{"a" * 32}-{"b" * 16}-{flags}", None):
    with tracing.span("request", "server", parent=parent) as span:
        is_sampled = int(span.traceparent[-2:], 16) & 1
        assert is_sampled == (int("{flags}") if parent else 0)
"""
    with running_collector() as collector:
        completed = run(script, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, TRACES_SAMPLED_PERCENT="0")

    assert completed.returncode == 0, completed.stderr
    assert len(collector.spans) == number


def test_process_starts_without_the_packages_only_if_traces_are_off():
    script = "import sys; sys.modules['opentelemetry'] = None; from core import tracing; tracing.configure('bridge')"

    assert run(script).returncode == 0
    refused = run(script, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert "requirements-tracing.txt" in refused.stderr


def test_span_costs_nothing_while_traces_are_off():
    def with_span() -> None:
        with tracing.span("request", "server"):
            pass

    assert not tracing.is_on()
    assert min(timeit.repeat(with_span, number=1000, repeat=5)) / 1000 < 10e-6  # seconds; about 0.3 µs when idle
