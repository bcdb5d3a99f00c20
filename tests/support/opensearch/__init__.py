"""A real OpenSearch, the Elasticsearch that Maven Central has whole: one node, where Java and Maven are there.

with running_node(tmp_path) as node: node.put("_index_template/x", {...}); node.search("logs-*", {...})

It has data streams, index templates and Elasticsearch's field types, but not its lifecycles, which are no part of what
is free there.
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
    """Why there can be no OpenSearch here; empty where there can. Fetches its jars the first time."""
    return missing_jars_reason("OpenSearch", Path(__file__).parent / "pom.xml", _JARS)


class Node:
    """What is asked of it. Raises requests.HTTPError where it refuses."""

    def __init__(self, url: str) -> None:
        self._url = url

    def put(self, path: str, body: dict[str, Any]) -> None:
        requests.put(f"{self._url}/{path}", json=body, timeout=30).raise_for_status()

    def get(self, path: str) -> dict[str, Any]:
        answer = requests.get(f"{self._url}/{path}", timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def add(self, index: str, lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Index ``lines`` in bulk, as Filebeat does, and make them be found; returns what it refused and why."""
        create = json.dumps({"create": {"_index": index}})
        body = "".join(f"{create}\n{json.dumps(line)}\n" for line in lines)
        answer = requests.post(
            f"{self._url}/_bulk?refresh=true",
            data=body.encode(),
            headers={"Content-Type": "application/x-ndjson"},
            timeout=60,
        )
        answer.raise_for_status()
        return [item["create"]["error"] for item in answer.json()["items"] if "error" in item["create"]]

    def search(self, index: str, query: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
        """The documents that ``query`` finds, a thousand at most; ``more`` beside the query, such as ``sort``."""
        body = {"query": query, "size": 1000, **more}
        answer = requests.post(f"{self._url}/{index}/_search", json=body, timeout=30)
        answer.raise_for_status()
        return [hit["_source"] for hit in answer.json()["hits"]["hits"]]


@contextmanager
def running_node(directory: Path) -> Iterator[Node]:
    """A node of its own, with its data below ``directory``; it takes a free port at 9201 and up, on loopback."""
    config = directory / "node_1" / "config"
    config.mkdir(parents=True)
    # It would otherwise look for others like it on this machine.
    (config / "opensearch.yml").write_text("discovery.type: single-node\nnetwork.host: 127.0.0.1\n")
    log = directory / "log"
    named = ["-clusterName", f"coursebus-{os.getpid()}", "-basePath", str(directory)]
    with (
        log.open("wb") as told,
        popen_with_parent(
            [*_JAVA, *named, "-numOfNode", "1", "-baseHttpPort", "9200"],
            # A stack that is started or stopped ends what is left over with this mark.
            env={**os.environ, STACK_ENV_VAR: str(directory.resolve())},
            stdout=told,
            stderr=told,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Node(eventually(lambda: _address(process, log), "OpenSearch", seconds=120))
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where it answers; empty as long as it is starting."""
    text = log.read_text(errors="replace")
    assert process.poll() is None, text[-2000:]
    found = re.search(r"HttpServerTransport\s*\] publish_address \{([\d.:]+)\}", text)
    return f"http://{found[1]}" if found and "] started" in text else ""
