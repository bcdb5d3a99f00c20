"""What the routes of payments share."""

from api.blueprints import Blueprint

blp = Blueprint("payments", "payments", url_prefix="/v1", description="Buying courses.")
