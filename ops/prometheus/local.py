"""Run Prometheus with the alert rules over the local stack: ``python -m ops.prometheus.local``.

Debian's package is sufficient. Prometheus listens at PORT_BASE+90 and stores its data in STATE_DIR/prometheus.
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
    """Return prometheus.yml with the addresses of compose.yml replaced by the ports of the stack at ``base``."""
    config: dict[str, Any] = yaml.safe_load((HERE / "prometheus.yml").read_text())
    config["rule_files"] = [str(HERE / "rules.yml")]
    del config["alerting"]
    ports = {process.name: process.metrics_port(base) for process in platform(base)}
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            [target] = group["targets"]
            group["targets"] = [f"127.0.0.1:{ports[target.partition(':')[0]]}"]
            group["labels"] = {"instance": target}  # alerts and panels show the name of the process instead of the port
    return config


def command(directory: Path, port: int) -> list[str]:
    """Return the command of Prometheus over ``directory``, which contains its configuration and data."""
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
        raise SystemExit("Prometheus is not installed. On Debian: apt-get install prometheus")
    directory = STATE_DIR / "prometheus"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(local_config(PORT_BASE)))
    port = PORT_BASE + OFFSETS["prometheus"]
    print(
        f"Prometheus: http://127.0.0.1:{port}/classic/alerts (/alerts if not Debian's). Press Ctrl-C to stop.",
        flush=True,
    )
    started = command(directory, port)
    os.execvp(started[0], started)


if __name__ == "__main__":
    main()
