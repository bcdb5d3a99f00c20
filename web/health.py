"""The liveness probe."""

from flask import Blueprint

import settings

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> dict[str, str]:
    """Return that the process answers. The pages show what is missing, so no server decides whether they are served."""
    return {"status": "alive", "version": settings.COURSEBUS_VERSION}
