"""The gateway: the HTTP process. It authenticates, validates, sends commands to workers and translates their replies.

It contains no business rules and no database access. The blueprint ``blp`` of every module is registered automatically.
"""

import importlib
import pkgutil

from flask import Flask

from core import log, tracing
from settings.checks import validate_production_settings

from . import docs, metrics, openapi
from .base_app import create_base_app
from .blueprints import Blueprint


def create_app() -> Flask:
    """Create the WSGI application. Raises SystemExit if the production settings are unsafe, such as a fake provider."""
    validate_production_settings("gateway")
    log.configure("gateway")
    tracing.configure("gateway")
    app = create_base_app(__name__, first_init=metrics.init_app)
    app.config.update(API_TITLE="Coursebus", API_VERSION="v1", OPENAPI_VERSION="3.1.0")
    rest = openapi.create_api(app)
    for blueprint in _blueprints():
        rest.register_blueprint(blueprint, url_prefix=blueprint.url_prefix)
    docs.init_app(app, rest)
    return app


def _blueprints() -> list[Blueprint]:
    """Import every module of this package, so that its routes exist, and return their blueprints."""
    names = [each.name for each in pkgutil.walk_packages(__path__, f"{__name__}.")]
    found = [getattr(importlib.import_module(name), "blp", None) for name in names]
    return list(dict.fromkeys(blueprint for blueprint in found if blueprint))
