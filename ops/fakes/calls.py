"""Handle one call of a payment provider's API: authentication, injected faults, idempotency, transaction.

A view is a function of a ``Call``. It runs in one transaction, which also stores the response under the idempotency key
and the webhooks of the call.
"""

import hashlib
import json
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request

from ops.fakes.store import Document, Documents, Store

from . import faults

KEY_TTL_SECONDS = 24 * 3600  # as at both providers: an older key counts as new

View = Callable[..., Document]


class ApiError(Exception):
    """An error response of a provider.

    ``keeps_changes``: the changes of the call are committed, as for a declined card.
    ``stored``: a repetition with the same idempotency key gets the same response.
    """

    def __init__(self, status: int, body: Document, *, keeps_changes: bool = False, stored: bool = False) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.keeps_changes = keeps_changes
        self.stored = stored


@dataclass(frozen=True)
class Call:
    """A request in its transaction, or an internal change without a request id. ``now``: Unix seconds."""

    db: Documents
    message: Document
    now: float
    request_id: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class ApiResponse:
    status: int
    body: str
    replayed: bool = False


class ProviderApi(ABC):
    """Handles the calls of one provider; a subclass defines the provider's authentication, formats and errors."""

    def __init__(self, app: Flask, store: Store) -> None:
        self._app = app
        self.store = store
        self._in_use: set[str] = set()
        self._in_use_lock = threading.Lock()

    @abstractmethod
    def authenticate(self) -> None:
        """Check the shop's credentials. Raises ApiError if they are missing or wrong."""

    @abstractmethod
    def idempotency_key(self) -> str | None:
        """Return the idempotency key. Raises ApiError for a missing or overlong key."""

    @abstractmethod
    def read_message(self) -> Document:
        """Return the decoded query or body of the request. Raises ApiError if it is malformed."""

    @abstractmethod
    def error(self, reason: str) -> ApiError:
        """Return the provider's error for "server_error", "rate_limited", "key_reused" or "key_in_use"."""

    @abstractmethod
    def respond(self, answer: ApiResponse, request_id: str, key: str | None) -> Response: ...

    @abstractmethod
    def new_request_id(self) -> str: ...

    def present(self, call: Call, document: Document) -> Document:
        """Return the public form of ``document``."""
        return document

    def route(self, method: str, rule: str, view: View) -> None:
        """Serve ``view(call, **path)`` at ``rule``."""

        def serve(**path: str) -> Response:
            return self._serve(view, path)

        self._app.add_url_rule(rule, f"{method} {rule}", serve, methods=[method])

    def _serve(self, view: View, path: dict[str, str]) -> Response:
        request_id = self.new_request_id()
        key = None
        try:
            self.authenticate()
            key = self.idempotency_key()
            message = self.read_message()
            with self._reserve_key(key):
                self._apply_faults()
                answer = self._respond_once(view, path, message, request_id, key)
        except ApiError as refusal:
            answer = ApiResponse(refusal.status, json.dumps(refusal.body, ensure_ascii=False))
        if request.method == "POST":
            self._maybe_drop_response()
        return self.respond(answer, request_id, key)

    @contextmanager
    def _reserve_key(self, key: str | None) -> Iterator[None]:
        """Reserve the key for this request. Raises ApiError while an earlier request with the key is running."""
        if key is None:
            yield
            return
        with self._in_use_lock:
            if key in self._in_use:
                raise self.error("key_in_use")
            self._in_use.add(key)
        try:
            yield
        finally:
            with self._in_use_lock:
                self._in_use.discard(key)

    def _apply_faults(self) -> None:
        with self.store.transaction() as db:
            delay_seconds = faults.delay_seconds(db)
            reason = next((name for name in ("error_500", "error_429") if faults.should_trigger(db, name)), None)
        time.sleep(delay_seconds)
        if reason:
            raise self.error("server_error" if reason == "error_500" else "rate_limited")

    def _respond_once(
        self, view: View, path: dict[str, str], message: Document, request_id: str, key: str | None
    ) -> ApiResponse:
        with self.store.transaction() as db:
            call = Call(db, message, db.now(), request_id, key)
            fingerprint = _fingerprint(message)
            if key and (known := self._stored_response(call, key, fingerprint)):
                return known
            status, document, stored = self._execute(view, path, call)
            body = json.dumps(document, ensure_ascii=False)
            if key and stored:
                row = (key, fingerprint, status, body, call.now)
                db.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)", *row)
            return ApiResponse(status, body)

    def _stored_response(self, call: Call, key: str, fingerprint: str) -> ApiResponse | None:
        row = call.db.execute("SELECT * FROM responses WHERE key = ?", key).fetchone()
        if row is None or row["created_at"] < call.now - KEY_TTL_SECONDS:
            return None
        if row["fingerprint"] != fingerprint:
            raise self.error("key_reused")
        return ApiResponse(row["status"], row["body"], replayed=True)

    def _execute(self, view: View, path: dict[str, str], call: Call) -> tuple[int, Document, bool]:
        """Run the view. Return status, body and whether the response is stored under the key."""
        call.db.execute("SAVEPOINT view")
        try:
            return 200, self.present(call, view(call, **path)), True
        except ApiError as refusal:
            if not refusal.keeps_changes:
                call.db.execute("ROLLBACK TO view")
            return refusal.status, refusal.body, refusal.stored

    def _maybe_drop_response(self) -> None:
        with self.store.transaction() as db:
            dropped = faults.should_trigger(db, "drop_response_after_commit")
        if dropped:
            # The server closes a connection after an exception; a normal response would keep it open.
            request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("the response is dropped by an injected fault")


def _fingerprint(message: Document) -> str:
    shown: list[Any] = [request.method, request.path, message]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
