"""Serve the fake of the push services at PORT_BASE + 35: ``python -m ops.fakes.push``."""

from pathlib import Path

from flask import Flask

import settings
from ops.dev import ports
from ops.fakes import serving
from ops.fakes.store import Store

from . import browsers, devices, fcm


def create_app(store: Store, *, account: Path, origin: str) -> Flask:
    """Create the fake at ``origin`` and write the service account that may send into the file ``account``."""
    app = serving.make_app("push")
    fcm.add_to(app, store, account=account, origin=origin)
    browsers.add_to(app, store, origin=origin)
    devices.add_to(app, store, origin=origin)
    serving.add_controls(app, store)
    return app


def main() -> None:
    serving.require_non_production()
    origin = f"http://127.0.0.1:{settings.PORT_BASE + ports.OFFSETS['push']}"
    store = serving.open_store("push")
    serving.serve(create_app(store, account=settings.FIREBASE_CREDENTIALS, origin=origin), "push")


if __name__ == "__main__":
    main()
