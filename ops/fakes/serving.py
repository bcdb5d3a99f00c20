"""Run the process of a fake: its store, its server and the control endpoints that all fakes have."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

import settings
from ops.dev import ports
from ops.fakes.store import Document, Documents, Store

from . import faults, webhook_sender

TICK_SECONDS = 1.0

Tick = Callable[[Documents], None]


def _no_tick(db: Documents) -> None:
    """Do nothing: the objects of this fake do not expire."""


def require_non_production() -> None:
    """Raise SystemExit in production."""
    if settings.ENVIRONMENT == "production":
        raise SystemExit("a fake refuses to start with ENVIRONMENT=production")


def open_store(name: str) -> Store:
    return Store(settings.STATE_DIR / "fakes" / f"{name}.sqlite3")


def make_app(name: str) -> Flask:
    app = Flask(f"fake-{name}", template_folder=str(settings.ROOT / "ops/fakes/templates"))
    # Unexpected errors reach the server, which logs each once. A dropped response uses the same path.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.json.sort_keys = False  # type: ignore[attr-defined]
    return app


def add_controls(
    app: Flask,
    store: Store,
    *,
    tick: Tick = _no_tick,
    forge: Callable[[Documents, Document], Callable[[], int]] | None = None,
) -> None:
    """Add the control endpoints ``/__faults``, ``/__clock`` and ``/__webhooks``.

    ``tick`` expires objects after the clock moved. ``forge`` prepares a forged webhook and returns the function that
    sends it.
    """

    def set_faults() -> tuple[Response, int]:
        wanted = dict(request.get_json(force=True))
        forged = wanted.pop("forge_webhook", None)
        send = None
        try:
            with store.transaction() as db:
                faults.configure(db, wanted)
                if wanted.get("resend"):
                    webhook_sender.resend_dropped(db)
                if forged is not None and forge:
                    send = forge(db, forged)
                answer = faults.current(db)
        except faults.UnknownFaultError as error:
            return jsonify({"error": str(error)}), 400
        # Sent after the transaction, because the receiver may call this fake before it responds.
        if send:
            answer["forged_webhook_status"] = send()
        return jsonify(answer), 200

    def show_faults() -> Document:
        with store.transaction() as db:
            return faults.current(db)

    def move_clock() -> Document:
        with store.transaction() as db:
            advance_seconds = float(request.get_json(force=True)["advance_seconds"])
            db.set_value("clock_offset_seconds", db.value("clock_offset_seconds", 0) + advance_seconds)
            tick(db)
            return {"now": db.now()}

    def show_webhooks() -> Response:
        with store.transaction() as db:
            return jsonify(webhook_sender.journal(db))

    app.add_url_rule("/__faults", view_func=set_faults, methods=["POST"])
    app.add_url_rule("/__faults", view_func=show_faults, methods=["GET"])
    app.add_url_rule("/__clock", view_func=move_clock, methods=["POST"])
    app.add_url_rule("/__webhooks", view_func=show_webhooks, methods=["GET"])


def start_ticking(store: Store, tick: Tick) -> None:
    def run() -> None:
        while True:
            with store.transaction() as db:
                tick(db)
            time.sleep(TICK_SECONDS)

    threading.Thread(target=run, name="tick", daemon=True).start()


def _exit_on_thread_failure(failure: threading.ExceptHookArgs) -> None:
    """End the process when a thread fails: a fake without its sender threads would look alive but send no webhooks."""
    sys.excepthook(failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    os._exit(1)


def serve(app: Flask, name: str) -> None:
    """Serve on the loopback address at the port of ``name`` until the process is killed."""
    port = settings.PORT_BASE + ports.OFFSETS[name]
    threading.excepthook = _exit_on_thread_failure
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # one line per request would hide the other lines
    logging.getLogger(app.name).info("listening on http://127.0.0.1:%d", port)
    make_server("127.0.0.1", port, app, threaded=True).serve_forever(poll_interval=3600)  # nothing calls shutdown()
