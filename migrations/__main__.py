"""Run Flask-Migrate on the database of every service: ``upgrade``, ``downgrade REVISION``, ``current``, ``history``."""

import sys
from pathlib import Path

import flask_migrate
from flask import Flask

import settings
from core.db import Base


class _Tables:
    """Provides the attributes of a Flask-SQLAlchemy object that Flask-Migrate reads."""

    metadata = Base.metadata


def main(command: str = "upgrade", *revision: str) -> None:
    """Run one Flask-Migrate command on each distinct database."""
    app = Flask(__name__)
    flask_migrate.Migrate(app, _Tables(), directory=str(Path(__file__).parent))
    for url in sorted({settings.database_url(service) for service in settings.SERVICES}):
        app.config["DATABASE_URL"] = url
        with app.app_context():
            _run(command, revision)


def _run(command: str, revision: tuple[str, ...]) -> None:
    run = getattr(flask_migrate, command)
    if command in {"upgrade", "downgrade"} and revision:
        run(revision=revision[0])
    else:
        run()


if __name__ == "__main__":
    main(*sys.argv[1:])
