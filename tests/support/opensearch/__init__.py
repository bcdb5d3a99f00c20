"""A real OpenSearch with one node, in place of Elasticsearch. Maven fetches it, if Java and Maven are installed.

with running_node(tmp_path) as node: node.put("_index_template/x", {...}); node.search("logs-*", {...})

OpenSearch supports data streams, index templates and Elasticsearch's field types, but not Elasticsearch's lifecycle
policies. Elasticsearch itself is not available from Maven Central.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from ops.dev.child_process import popen_with_parent
from ops.dev.processes import STACK_ENV_VAR
from settings import ROOT
from tests.support.maven import missing_jars_reason
from tests.support.polling import eventually

_JARS = ROOT / ".local" / "opensearch"
_JAVA = [
    *("java", "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{_JARS}/*"),
    "org.codelibs.opensearch.runner.OpenSearchRunner",
]


def missing_requirement() -> str:
    """Return why OpenSearch cannot run here, or an empty string. The first call fetches the jars."""
    return missing_jars_reason("OpenSearch", Path(__file__).parent / "pom.xml", _JARS)


class Node:
    """A client of one node. Raises requests.HTTPError for errors."""

    def __init__(self, url: str) -> None:
        self._url = url

    def put(self, path: str, body: dict[str, Any]) -> None:
        requests.put(f"{self._url}/{path}", json=body, timeout=30).raise_for_status()

    def get(self, path: str) -> dict[str, Any]:
        response = requests.get(f"{self._url}/{path}", timeout=30)
        response.raise_for_status()
        return dict(response.json())

    def add(self, index: str, lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Index ``lines`` in bulk, like Filebeat, and refresh the index; return the errors of rejected lines."""
        create = json.dumps({"create": {"_index": index}})
        body = "".join(f"{create}\n{json.dumps(line)}\n" for line in lines)
        response = requests.post(
            f"{self._url}/_bulk?refresh=true",
            data=body.encode(),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=60,
        )
        response.raise_for_status()
        return [item["create"]["error"] for item in response.json()["items"] if "error" in item["create"]]

    def search(self, index: str, query: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        """Return at most 1000 documents that match ``query``; ``more`` are further parameters, such as ``sort``."""
        body = {"query": query, "size": 1000, **more}
        response = requests.post(f"{self._url}/{index}/_search", json=body, timeout=30)
        response.raise_for_status()
        return [hit["_source"] for hit in response.json()["hits"]["hits"]]


@contextmanager
def running_node(directory: Path) -> Iterator[Node]:
    """Run a node with its data in ``directory``; it listens on a free loopback port from 9201 upwards."""
    config = directory / "node_1" / "config"
    config.mkdir(parents=True)
    # Otherwise the node would search for other nodes on this machine.
    (config / "opensearch.yml").write_text("discovery.type: single-node\nnetwork.host: 127.0.0.1\n")
    log = directory / "log"
    named = ["-clusterName", f"coursebus-{os.getpid()}", "-basePath", str(directory)]
    with (
        log.open("wb") as output,
        popen_with_parent(
            [*_JAVA, *named, "-numOfNode", "1", "-baseHttpPort", "9200"],
            # Starting or stopping a stack kills leftover processes with this mark.
            env={**os.environ, STACK_ENV_VAR: str(directory.resolve())},
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Node(eventually(lambda: _address(process, log), "OpenSearch", seconds=120))
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the URL of the node; empty while it is starting."""
    text = log.read_text(errors="replace")
    assert process.poll() is None, text[-2000:]
    found = re.search(r"HttpServerTransport\s*\] publish_address \{([\d.:]+)\}", text)
    return f"http://{found[1]}" if found and "] started" in text else ""
