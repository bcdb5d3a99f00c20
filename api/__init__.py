"""The gateway: the HTTP process. It authenticates, validates, sends commands to workers and translates their replies.

It contains no business rules and no database access. Every module or subpackage with a ``blp`` is registered
automatically.
"""

import importlib
import pkgutil

from flask import Flask

from core import log, tracing
from settings.checks import validate_production_settings

from . import docs, metrics, openapi
from .base_app import create_base_app


def create_app() -> Flask:
    """Create the WSGI application. Raises SystemExit if the production settings are unsafe, such as a fake provider."""
    validate_production_settings("gateway")
    log.configure("gateway")
    tracing.configure("gateway")
    app = create_base_app(__name__, first_init=metrics.init_app)
    app.config.update(API_TITLE="Coursebus", API_VERSION="v1", OPENAPI_VERSION="3.1.0")
    rest = openapi.create_api(app)
    for module in pkgutil.iter_modules(__path__):
        blueprint = getattr(importlib.import_module(f"{__name__}.{module.name}"), "blp", None)
        if blueprint:
            rest.register_blueprint(blueprint, url_prefix=blueprint.url_prefix)
    docs.init_app(app, rest)
    return app
