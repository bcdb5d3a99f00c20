"""The gateway, for any WSGI server."""

from api import create_app

app = create_app()
