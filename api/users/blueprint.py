"""The blueprint of the routes of users."""

from api.blueprints import Blueprint

blp = Blueprint(
    "users", __name__, url_prefix="/v1", description="Profiles, user administration, data export and account erasure."
)
