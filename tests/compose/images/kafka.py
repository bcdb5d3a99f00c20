"""Like apache/kafka: turns the variables KAFKA_… into server.properties, formats the storage and runs the broker."""

import os
import subprocess
from pathlib import Path

PROPERTIES = Path("/tmp/server.properties")  # noqa: S108 private to the container
JAVA = ["java", *os.environ.pop("KAFKA_HEAP_OPTS", "").split(), "-cp", "/opt/kafka/*"]

lines = []
for name, value in os.environ.items():
    if name.startswith("KAFKA_"):
        key = name.removeprefix("KAFKA_").replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")
        lines.append(f"{key.lower()}={' '.join(value.split())}\n")
PROPERTIES.write_text("".join(lines))
if not (Path(os.environ["KAFKA_LOG_DIRS"]) / "meta.properties").exists():
    cluster = "Y291cnNlYnVzLWRldi0wMQ"
    command = [*JAVA, "kafka.tools.StorageTool", "format", "--config", str(PROPERTIES), "--cluster-id", cluster]
    subprocess.run(command, check=True)
os.execvp(JAVA[0], [*JAVA, "kafka.Kafka", str(PROPERTIES)])
