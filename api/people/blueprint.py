"""The blueprint of the routes about people."""

from api.blueprints import Blueprint

blp = Blueprint(
    "people",
    __name__,
    url_prefix="/v1",
    description="A person's orders, enrollments, notifications and devices, access with its reasons, and learners.",
)
