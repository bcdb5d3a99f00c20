"""Fakes of providers in separate processes, and a receiver for their webhooks."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

import settings
from ops.dev import ports
from tests.support.polling import eventually


@dataclass(frozen=True)
class ReceivedWebhook:
    body: bytes
    headers: dict[str, str]
    address: str

    @property
    def event(self) -> dict:
        return json.loads(self.body)


class WebhookReceiver:
    """Receives the webhooks instead of the gateway. The next ``fail_next`` webhooks get a 500."""

    def __init__(self) -> None:
        self.webhooks: list[ReceivedWebhook] = []
        self.fail_next = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.webhooks.append(ReceivedWebhook(body, dict(self.headers), self.client_address[0]))
                failing, receiver.fail_next = receiver.fail_next > 0, max(receiver.fail_next - 1, 0)
                self.send_response(500 if failing else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()

    def received(self, object_id: str, kind: str) -> list[ReceivedWebhook]:
        """Return the webhooks of ``kind`` ("refund.succeeded", …) for that object, from either provider."""
        return [w for w in list(self.webhooks) if _subject_of(w.event) == (object_id, kind)]

    def wait_for_one(self, object_id: str, kind: str) -> ReceivedWebhook:
        return eventually(lambda: self.received(object_id, kind))[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _subject_of(event: dict) -> tuple[str | None, str]:
    subject = (
        event.get("object") if event.get("type") == "notification" else (event.get("data") or {}).get("object", {})
    )
    return subject.get("id"), event.get("event") or event["type"]


class FakeProcess:
    """One fake in a separate process, whose state survives a kill."""

    def __init__(self, name: str, state: Path, public_url: str) -> None:
        self.name = name
        base = ports.free_base()
        self.port = base + ports.OFFSETS[name]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = os.environ | {"PORT_BASE": str(base), "STATE_DIR": str(state), "PUBLIC_URL": public_url}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", f"ops.fakes.{self.name}"]
        self._process = subprocess.Popen(command, cwd=settings.ROOT, env=self._environ, stderr=subprocess.DEVNULL)
        eventually(lambda: ports.is_open(self.port))

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=5).json()

    def post(self, path: str, **message: Any) -> Any:
        return requests.post(self.url + path, json=message, timeout=5).json()

    def faults(self, **wanted: Any) -> Any:
        return self.post("/__faults", **wanted)

    def pay(self, payable_id: str, outcome: str, **more: str) -> requests.Response:
        return requests.post(f"{self.url}/__pay/{payable_id}", data={"outcome": outcome} | more, timeout=5)

    def payments_of(self, order_id: str) -> list[dict]:
        return [row for row in self.get("/__state")["payments"] if row["order_id"] == order_id]
