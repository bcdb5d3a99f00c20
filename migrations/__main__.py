"""Run Flask-Migrate on the database of every service: ``upgrade``, ``downgrade REVISION``, ``current``, ``history``.

``roles`` only creates the roles, for a database that is restored from a dump.
"""

import sys
from pathlib import Path

import flask_migrate
from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

import settings
from core import command_line
from core.db import Base, network_options

from . import roles


class _Tables:
    """Provides the attributes of a Flask-SQLAlchemy object that Flask-Migrate reads."""

    metadata = Base.metadata


def main(command: str = "upgrade", *revision: str) -> None:
    """Run one Flask-Migrate command on each distinct database."""
    app = Flask(__name__)
    flask_migrate.Migrate(app, _Tables(), directory=str(Path(__file__).parent))
    if settings.DATABASE_POOLING == "transaction" and any(is_pooler(service) for service in settings.SERVICES):
        raise SystemExit("DIRECT_DATABASE_URL must name the server behind the pooler: migrations hold a session lock")
    for url in sorted({settings.direct_database_url(service) for service in settings.SERVICES}):
        app.config["DATABASE_URL"] = url
        if command in {"roles", "upgrade"}:
            _prepare_roles(url)
        if command == "roles":
            continue
        with app.app_context():
            _run(command, revision)


def is_pooler(service: str) -> bool:
    return settings.direct_database_url(service) == settings.database_url(service)


def _prepare_roles(url: str) -> None:
    with create_engine(url, poolclass=NullPool, connect_args=network_options(url)).connect() as connection:
        roles.create_roles(connection)
        roles.set_passwords(connection)


def _run(command: str, revision: tuple[str, ...]) -> None:
    run = getattr(flask_migrate, command)
    if command in {"upgrade", "downgrade"} and revision:
        run(revision=revision[0])
    else:
        run()


if __name__ == "__main__":
    command_line.run(lambda: main(*sys.argv[1:]))
