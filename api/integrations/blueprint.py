"""The blueprint of the integration routes."""

from api.blueprints import Blueprint

blp = Blueprint(
    "integrations",
    __name__,
    url_prefix="/v1",
    description="Event feed, webhook endpoints, dead letters, quarantined events, audit log, jobs and status.",
)
