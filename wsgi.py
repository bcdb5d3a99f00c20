"""WSGI entry point of the gateway."""

from api import create_app

app = create_app()
