"""``python -m ops.local.standins.stripe`` serves the stand-in at PORT_BASE + 20."""

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import NotFound

from ops.local.standins import notices, serving
from ops.local.standins.store import Store
from ops.local.standins.stripe import (
    catalogue,
    charges,
    controls,
    customers,
    disputes,
    errors,
    events,
    intents,
    methods,
    refunds,
    sessions,
    setups,
)
from ops.local.standins.stripe.api import StripeApi

NOUNS = (catalogue, charges, customers, disputes, events, intents, methods, refunds, sessions, setups)


def create_app(store: Store) -> Flask:
    app = serving.make_app("stripe")
    api = StripeApi(app, store)
    for noun in NOUNS:
        noun.routes(api)
    controls.add_to(app, store)
    serving.add_controls(app, store, tick=sessions.expire_due, forge=events.forge)
    app.register_error_handler(NotFound, _unknown_path)
    return app


def _unknown_path(_: NotFound) -> tuple[Response, int]:
    refusal = errors.unknown_path(request.method, request.path)
    return jsonify(refusal.body), refusal.status


def main() -> None:
    serving.refuse_production()
    store = serving.open_store("stripe")
    app = create_app(store)
    notices.Sender(store, events.send).start()
    serving.start_ticking(store, sessions.expire_due)
    serving.serve(app, "stripe")


if __name__ == "__main__":
    main()
