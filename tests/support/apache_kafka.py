"""A real Apache Kafka, one broker in KRaft mode: its jars come from Maven Central, where Java and Maven are there.

kafka = ApacheKafka(tmp_path, port); kafka.start() … kafka.restart() … kafka.wipe() … kafka.stop()
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from ops.local.ports import is_open
from ops.local.processes import MARK
from ops.local.ready import wait
from settings import ROOT

_HERE = Path(__file__).parent / "kafka"
_JARS = ROOT / ".local" / "kafka"
_CLUSTER = "Y291cnNlYnVzLWRldi0wMQ"
_JAVA = [
    *("java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    *(f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}", "-cp", f"{_JARS}/*"),
]


@cache
def why_not() -> str:
    """Why there can be no Apache Kafka here; empty where there can. Fetches its jars the first time."""
    missing = [program for program in ("java", "mvn") if not shutil.which(program)]
    if missing:
        return f"Apache Kafka needs {' and '.join(missing)}, which are not installed here"
    if list(_JARS.glob("kafka_2.13-*.jar")):
        return ""
    fetched = _JARS.with_suffix(".new")
    shutil.rmtree(fetched, ignore_errors=True)
    maven = ["mvn", "-B", "-q", "-f", str(_HERE / "pom.xml"), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*maven, f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        return f"Maven could not fetch Apache Kafka: {(done.stdout + done.stderr).strip().splitlines()[:1]}"
    shutil.rmtree(_JARS, ignore_errors=True)
    fetched.rename(_JARS)
    return ""


class ApacheKafka:
    """One broker, below ``directory``, on ``port`` and the next one."""

    def __init__(self, directory: Path, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._port = port
        self._directory = directory / "apache-kafka"
        self._process: subprocess.Popen[bytes] | None = None
        # A stack that is started or stopped ends what is left over with this mark: so start this one after it.
        self._environ = {**os.environ, MARK: str(directory.resolve())}

    def start(self) -> None:
        """Return when it takes connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = self._directory / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        self._java(
            "kafka.tools.StorageTool", "format", "--config", settings, "--cluster-id", _CLUSTER, "--ignore-formatted"
        )
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_JAVA, "kafka.Kafka", str(settings)],
                env=self._environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait(lambda: is_open(self._port), "Apache Kafka", timeout_seconds=60)

    def stop(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it again over its log."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Kill it, and start it again with an empty log."""
        self.stop()
        shutil.rmtree(self._directory / "data", ignore_errors=True)
        self.start()

    def _java(self, *command: object) -> None:
        subprocess.run([*_JAVA, *map(str, command)], env=self._environ, check=True, capture_output=True)

    def _settings(self) -> dict[str, object]:
        controller = f"127.0.0.1:{self._port + 1}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": f"BROKER://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"BROKER://{self.address}",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": self._directory / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.cleaner.dedupe.buffer.size": 2 << 20,
            "log.index.size.max.bytes": 1 << 20,
        }
