"""``python -m ops.local.standins.auth0`` serves the stand-in at PORT_BASE + 10."""

from flask import Flask

from ops.local.standins import notices, serving
from ops.local.standins.auth0 import hooks, keys, management, people, tokens
from ops.local.standins.store import Store


def create_app(store: Store) -> Flask:
    with store.transaction() as db:
        keys.ensure(db)
        people.ensure(db)
    app = serving.make_app("auth0")
    tokens.add_to(app, store)
    management.add_to(app, store)
    serving.add_controls(app, store)
    return app


def main() -> None:
    serving.refuse_production()
    store = serving.open_store("auth0")
    app = create_app(store)
    notices.Sender(store, hooks.send).start()
    serving.serve(app, "auth0")


if __name__ == "__main__":
    main()
