"""The gateway: HTTP only. It authenticates, validates, enqueues and translates; it knows no table and no rule.

Every module of this package that has a ``blp`` is served; nothing is registered by hand.
"""

import importlib
import pkgutil

from flask import Flask

import settings
from models import log

from . import headers, problems, schemas


def create_app() -> Flask:
    """The WSGI application. Raises SystemExit where production would speak to a stand-in."""
    settings.refuse_unsafe_production()
    log.configure("gateway")
    app = Flask(__name__)
    app.config.update(
        API_TITLE="Coursebus",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
        MAX_CONTENT_LENGTH=1024 * 1024,  # a body is 1 MiB at most
        PROPAGATE_EXCEPTIONS=False,  # a crash is a problem+json in tests too
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # answers read in the order of their schemas
    headers.follow(app)
    problems.handle(app)
    rest = schemas.Rest(app)
    for module in pkgutil.iter_modules(__path__):
        blueprint = getattr(importlib.import_module(f"{__name__}.{module.name}"), "blp", None)
        if blueprint:
            rest.register_blueprint(blueprint, url_prefix=blueprint.url_prefix)
    return app
