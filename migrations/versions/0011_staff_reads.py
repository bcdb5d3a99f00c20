"""Audit log: whether an entry is a change or a read, and the changed values. Find people by e-mail address."""

from alembic import op

from migrations.repeatable import create_index_concurrently, has_column

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if not has_column("bus.staff_actions", "kind"):
        _change_tables()
    # Serves a whole address and the beginning of one.
    with op.get_context().autocommit_block():  # CONCURRENTLY: users are created in the meantime
        create_index_concurrently("users.ix_users_email", "users.users (lower(email) text_pattern_ops)")


def _change_tables() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # A default that is no expression is stored in the catalogue: existing rows are not rewritten.
    op.execute("""
        ALTER TABLE bus.staff_actions
            ADD COLUMN kind text NOT NULL DEFAULT 'change',
            ADD COLUMN changes jsonb,
            ADD CONSTRAINT ck_staff_actions_kind CHECK (kind IN ('change', 'read'))""")


def downgrade() -> None:
    op.execute("DROP INDEX users.ix_users_email")
    op.execute("ALTER TABLE bus.staff_actions DROP COLUMN kind, DROP COLUMN changes")
