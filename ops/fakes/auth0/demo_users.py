"""The users of a new tenant, with their roles."""

PASSWORD = "demo"  # noqa: S105 the password of every user, shown on the sign-in page
DEMO_ROLES = {
    "learner@demo.test": ["rol_learner"],
    "instructor@demo.test": ["rol_instructor"],
    "admin@demo.test": ["rol_admin"],
}
