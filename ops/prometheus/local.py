"""``python -m ops.prometheus.local``: Prometheus over the running local stack, with the rules; Debian's package does.

It listens at PORT_BASE+90 and keeps its data in STATE_DIR/prometheus.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from ops.dev.ports import OFFSETS
from ops.dev.processes import platform
from settings import PORT_BASE, STATE_DIR

HERE = Path(__file__).parent


def local_config(base: int) -> dict[str, Any]:
    """prometheus.yml with the ports of the stack at ``base`` for the names of compose.yml."""
    config: dict[str, Any] = yaml.safe_load((HERE / "prometheus.yml").read_text())
    config["rule_files"] = [str(HERE / "rules.yml")]
    del config["alerting"]
    ports = {process.name: process.metrics_port(base) for process in platform(STATE_DIR, base)}
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            [target] = group["targets"]
            group["targets"] = [f"127.0.0.1:{ports[target.partition(':')[0]]}"]
            group["labels"] = {"instance": target}  # alerts and panels name the process, not the port
    return config


def command(directory: Path, port: int) -> list[str]:
    """How Prometheus is started over ``directory``, which holds its configuration and its data."""
    return [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


def main() -> None:
    """Replace this process by Prometheus."""
    if not shutil.which("prometheus"):
        raise SystemExit("There is no prometheus here. On Debian: apt-get install prometheus")
    directory = STATE_DIR / "prometheus"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(local_config(PORT_BASE)))
    port = PORT_BASE + OFFSETS["prometheus"]
    print(
        f"Prometheus: http://127.0.0.1:{port}/classic/alerts (/alerts where it is not Debian's), Ctrl-C stops it.",
        flush=True,
    )
    started = command(directory, port)
    os.execvp(started[0], started)


if __name__ == "__main__":
    main()
