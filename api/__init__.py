"""The gateway: HTTP only. It authenticates, validates, enqueues and translates; it knows no table and no rule.

Every module of this package that has a ``blp`` is served; nothing is registered by hand.
"""

import importlib
import pkgutil

from flask import Flask

import settings
from models import log

from . import docs, metrics, openapi
from .shell import app_shell


def create_app() -> Flask:
    """The WSGI application. Raises SystemExit where production would speak to a stand-in."""
    settings.refuse_unsafe_production()
    log.configure("gateway")
    app = app_shell(__name__, first=metrics.add_to)
    app.config.update(API_TITLE="Coursebus", API_VERSION="v1", OPENAPI_VERSION="3.1.0")
    rest = openapi.rest(app)
    for module in pkgutil.iter_modules(__path__):
        blueprint = getattr(importlib.import_module(f"{__name__}.{module.name}"), "blp", None)
        if blueprint:
            rest.register_blueprint(blueprint, url_prefix=blueprint.url_prefix)
    docs.add_to(app, rest)
    return app
