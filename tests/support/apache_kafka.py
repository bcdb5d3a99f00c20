"""A real Apache Kafka in KRaft mode. Maven fetches its jars from Maven Central, if Java and Maven are installed.

kafka = ApacheKafka(tmp_path, port); kafka.start() … kafka.restart() … kafka.wipe() … kafka.stop()
with cluster_of_three(tmp_path, port) as brokers: …
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ops.dev.child_process import popen_with_parent
from ops.dev.ports import is_open
from ops.dev.processes import STACK_ENV_VAR
from ops.dev.readiness import wait
from settings import ROOT
from tests.support.maven import missing_jars_reason
from tests.support.polling import run_concurrently

_HERE = Path(__file__).parent / "kafka"
_JARS = ROOT / ".local" / "kafka"
_CLUSTER = "Y291cnNlYnVzLWRldi0wMQ"
_JAVA = [
    *("java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *(f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}", "-cp", f"{_JARS}/*"),
]


def missing_requirement() -> str:
    """Return why Apache Kafka cannot run here, or an empty string. The first call fetches the jars."""
    return missing_jars_reason("Apache Kafka", _HERE / "pom.xml", _JARS)


@contextmanager
def cluster_of_three(directory: Path, port: int) -> Iterator[list["ApacheKafka"]]:
    """Run three replicated brokers, each of them also a controller, on ``port`` and the next five ports."""
    nodes = {1: port, 2: port + 2, 3: port + 4}
    brokers = [ApacheKafka(directory, port, node=node, nodes=nodes) for node, port in nodes.items()]
    try:
        run_concurrently(
            *[broker.start for broker in brokers]
        )  # a broker is up only after two of them have formed a quorum
        yield brokers
    finally:
        for broker in brokers:
            broker.stop()


class ApacheKafka:
    """One broker in ``directory``, on ``port`` and the next port.

    ``nodes`` has the ports of all brokers by node id, ``security`` replaces settings of the broker.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        node: int = 1,
        nodes: Mapping[int, int] | None = None,
        security: Mapping[str, object] | None = None,
    ) -> None:
        self.address = f"127.0.0.1:{port}"
        self.node = node
        self._port = port
        self._nodes = nodes or {node: port}
        self._directory = directory / f"apache-kafka-{node}"
        self._security = security or {}
        self._process: subprocess.Popen[bytes] | None = None
        # Starting or stopping a stack kills leftover processes with this mark, so start this broker after the stack.
        self._environ = {**os.environ, STACK_ENV_VAR: str(directory.resolve())}

    def start(self) -> None:
        """Start the broker; return when it accepts connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = self._directory / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if not (self._directory / "data" / "meta.properties").exists():
            self._java("kafka.tools.StorageTool", "format", "--config", settings, "--cluster-id", _CLUSTER)
        with (self._directory / "log").open("ab") as log:
            self._process = popen_with_parent(
                [*_JAVA, "kafka.Kafka", str(settings)],
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait(lambda: is_open(self._port), "Apache Kafka", timeout_seconds=120)

    def stop(self) -> None:
        """Kill the broker with SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill the broker and start it again with its log."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Kill the broker and start it again with an empty log."""
        self.stop()
        shutil.rmtree(self._directory / "data", ignore_errors=True)
        self.start()

    def _java(self, *command: object) -> None:
        subprocess.run([*_JAVA, *map(str, command)], env=self._environ, check=True, capture_output=True)

    def _settings(self) -> dict[str, object]:
        voters = [f"{node}@127.0.0.1:{port + 1}" for node, port in self._nodes.items()]
        copies = len(self._nodes)
        return {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "listeners": f"BROKER://{self.address},CONTROLLER://127.0.0.1:{self._port + 1}",
            "advertised.listeners": f"BROKER://{self.address}",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": ",".join(voters),
            "log.dirs": self._directory / "data",
            "auto.create.topics.enable": "false",
            "min.insync.replicas": min(copies, 2),
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": min(copies, 2),
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.cleaner.dedupe.buffer.size": 2 << 20,
            "log.index.size.max.bytes": 1 << 20,
            **self._security,
        }
