"""Manage the users and roles of the tenant."""

import hashlib
from datetime import UTC, datetime

from ops.fakes.store import Document, Documents

from . import webhooks
from .demo_users import DEMO_ROLES

PERMISSIONS = (
    "courses:write",
    "courses:admin",
    "payments:read",
    "payments:refund",
    "payments:admin",
    "users:admin",
    "notifications:admin",
    "ops:admin",
)
ROLES: dict[str, Document] = {
    "rol_learner": {"name": "learner", "permissions": ()},
    "rol_instructor": {"name": "instructor", "permissions": ("courses:write",)},
    "rol_admin": {"name": "admin", "permissions": PERMISSIONS},
}


def ensure(db: Documents) -> None:
    """Create the demo users, which exist before their first sign-in."""
    for email in DEMO_ROLES:
        get_or_sign_up(db, email)


def get_or_sign_up(db: Documents, email: str) -> Document:
    """Return the user with that address. An unknown address signs up as a learner, which the event stream reports."""
    email = email.strip().lower()
    # The id is derived from the address: after a reset other services may still have rows of the same user.
    user_id = f"auth0|{hashlib.sha256(email.encode()).hexdigest()[:24]}"
    if known := db.get(user_id, "user"):
        return known
    now = timestamp(db)
    user: Document = {
        "user_id": user_id,
        "email": email,
        "email_verified": True,
        "name": email.partition("@")[0].replace(".", " ").title(),
        "nickname": email.partition("@")[0],
        "picture": None,
        "blocked": False,
        "identities": [{"connection": "Username-Password-Authentication", "provider": "auth0", "isSocial": False}],
        "app_metadata": {},
        "user_metadata": {},
        "logins_count": 0,
        "created_at": now,
        "updated_at": now,
        "_roles": DEMO_ROLES.get(email, ["rol_learner"]),
    }
    if email not in DEMO_ROLES:  # the demo users are older than the event stream
        webhooks.user_created(db, user)
    return save(db, user)


def save(db: Documents, user: Document) -> Document:
    return db.save("user", user | {"id": user["user_id"]})


def roles(db: Documents) -> dict[str, Document]:
    """Return the roles of the tenant by id: those of this project, then those created through the API."""
    return ROLES | {role["id"]: role for role in db.find("role")}


def permissions(db: Documents, user: Document) -> list[str]:
    """Return the permissions of the user's roles in a fixed order."""
    known = roles(db)
    allowed = {permission for role_id in user["_roles"] for permission in known[role_id]["permissions"]}
    return [permission for permission in PERMISSIONS if permission in allowed]


def role_names(db: Documents, user: Document) -> list[str]:
    """Return the names of the user's roles."""
    known = roles(db)
    return [str(known[role_id]["name"]) for role_id in user["_roles"]]


def timestamp(db: Documents) -> str:
    return datetime.fromtimestamp(db.now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
