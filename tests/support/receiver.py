"""A webhook receiver of an integrator: a real HTTP server with configurable responses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from standardwebhooks import Webhook


@dataclass(frozen=True)
class ReceivedWebhook:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """Verify the signature with the official library and return the event. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Records webhooks and responds with 204 or the next of ``responses``: a status, or a function of the handler."""

    url: str
    received: list[ReceivedWebhook] = field(default_factory=list)
    responses: list[Any] = field(default_factory=list)

    def of_type(self, type_: str) -> list[ReceivedWebhook]:
        return [each for each in list(self.received) if each.event["type"] == type_]


@contextmanager
def running_receiver(*responses: Any) -> Iterator[Receiver]:
    """Run a receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(ReceivedWebhook(self.path, headers, body))
            response = receiver.responses.pop(0) if receiver.responses else 204
            if callable(response):
                response(self)
                return
            self.send_response(response)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Write no access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 200

        def handle_error(self, *_: Any) -> None:
            """Ignore closed connections, which some tests cause."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook", responses=list(responses))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
