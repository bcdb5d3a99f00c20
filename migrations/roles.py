"""Create the PostgreSQL roles of the services and the bridge, and give them a login if a password is set.

Each service has the role ``coursebus_<service>``, with access to its own schema and to the bus tables only. A process
either logs in as that role or as a member that switches to it (``core/db.py``). Roles belong to the server, not to the
database: another database on it may have created them.
"""

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

import settings

ROLES = tuple(f"coursebus_{name}" for name in (*settings.SERVICES, "bridge"))
_INSUFFICIENT_PRIVILEGE = "42501"
# Another database's migration may create the role at the same moment.
_CREATE = """DO $$ BEGIN CREATE ROLE {role} NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"""


def create_roles(connection: Connection) -> None:
    """Create missing roles and make the current user a member of all. Raises SystemExit without the right to."""
    statements = [_CREATE.format(role=role) for role in _missing(connection)]
    if others := _not_granted(connection):
        statements.append(f"GRANT {', '.join(others)} TO CURRENT_USER")
    if not _may_create_schemas(connection):
        raise SystemExit(_explain(connection))
    try:
        for statement in statements:
            connection.execute(text(statement))
    except ProgrammingError as error:
        if not _is_denied(error):
            raise
        connection.rollback()
        raise SystemExit(_explain(connection)) from None
    connection.commit()


def set_passwords(connection: Connection) -> None:
    """Let each role log in whose password is set as ``<SERVICE>_DATABASE_PASSWORD`` or BRIDGE_DATABASE_PASSWORD."""
    for name, password in settings.DATABASE_PASSWORDS.items():
        if password:
            role = f"coursebus_{name}"
            # Hashed here, so that the password appears in no log of the server.
            driver = connection.connection.driver_connection
            verifier = encrypt_password(password, role, scope=driver, algorithm="scram-sha-256")
            try:
                connection.exec_driver_sql(f"ALTER ROLE {role} LOGIN PASSWORD '{verifier}'")
            except ProgrammingError as error:
                if not _is_denied(error):
                    raise
                raise SystemExit(
                    f"The database user may not set passwords. Remove {name.upper()}_DATABASE_PASSWORD, "
                    f"and let an administrator of the server run: ALTER ROLE {role} LOGIN PASSWORD '…';"
                ) from None
    connection.commit()


def _is_denied(error: ProgrammingError) -> bool:
    return bool(getattr(error.orig, "pgcode", None) == _INSUFFICIENT_PRIVILEGE)


def _missing(connection: Connection) -> list[str]:
    known = set(
        connection.scalars(text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles)"), {"roles": [*ROLES]})
    )
    return [role for role in ROLES if role not in known]


def _not_granted(connection: Connection) -> list[str]:
    """Return the roles that the current user cannot switch to. A missing one will have to be granted."""
    # PostgreSQL 16 separated the right to switch to a role (SET) from membership.
    right = "SET" if connection.dialect.server_version_info >= (16,) else "MEMBER"
    granted = connection.scalars(
        text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles) AND pg_has_role(rolname, :right)"),
        {"roles": [*ROLES], "right": right},
    )
    known = set(granted)
    return [role for role in ROLES if role not in known]


def _may_create_schemas(connection: Connection) -> bool:
    return bool(connection.scalar(text("SELECT has_database_privilege(current_database(), 'CREATE')")))


def _explain(connection: Connection) -> str:
    """Return which rights the current user lacks and the statements that an administrator has to run."""
    quoted = "SELECT quote_ident(current_user), quote_ident(current_database())"
    user, database = connection.execute(text(quoted)).one()
    lacking, statements = [], []
    if missing := _missing(connection):
        lacking.append("CREATEROLE")
        statements += [f"CREATE ROLE {role} NOLOGIN;" for role in missing]
    if others := _not_granted(connection):
        lacking.append("membership in the roles of the services")
        statements.append(f"GRANT {', '.join(others)} TO {user};")
    if not _may_create_schemas(connection):
        lacking.append(f"CREATE on the database {database}")
        statements.append(f"GRANT CREATE ON DATABASE {database} TO {user};")
    return "\n".join(
        [
            f"The database user {user} lacks: {', '.join(lacking)}. Nothing was changed.",
            "An administrator of the server must run these statements; then repeat the command:",
            *(f"    {statement}" for statement in statements),
            "Reasons and alternatives: docs/running.md, PostgreSQL roles.",
        ]
    )
