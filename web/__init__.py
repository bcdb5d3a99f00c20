"""The pages: a storefront for learners, pages for authors, and a console for staff.

They use the public API through the client of clients/python alone: no queue, no database, no model of the services.
A person is signed in by a cookie that names a session in Redis; their access token never leaves the server.
"""

from flask import Flask

import settings
from core import log
from settings.checks import validate_production_settings

from . import (
    accounts,
    api,
    assets,
    catalogue,
    checkout,
    console,
    errors,
    formats,
    health,
    language,
    learning,
    notifications,
    orders,
    quizzes,
    security,
    sessions,
    sign_in,
    teach,
)


def create_app() -> Flask:
    """Create the WSGI application. Raises SystemExit if the production settings are unsafe."""
    validate_production_settings("web")
    log.configure("web")
    app = Flask(__name__)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.config["WEB_URL"] = settings.WEB_URL
    app.config["MAX_CONTENT_LENGTH"] = 256 * 1024  # no form is longer
    sessions.init_app(app)
    for part in (api, assets, language, formats, security, errors, sign_in):
        part.init_app(app)
    for module in (health, catalogue, checkout, learning, quizzes, orders, notifications, accounts):
        app.register_blueprint(module.blueprint)
    app.register_blueprint(console.blueprint)
    app.register_blueprint(teach.blueprint)
    return app
