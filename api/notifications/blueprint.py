"""The blueprint of the notification routes."""

from api.blueprints import Blueprint

blp = Blueprint(
    "notifications",
    "notifications",
    url_prefix="/v1",
    description="Notification inbox, preferences, devices and unsubscribe links.",
)
