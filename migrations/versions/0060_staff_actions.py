"""Who changed what: the commands of staff and of programs."""

from alembic import op

revision = "0060"
down_revision = "0120"
SERVICES = ("users", "courses", "payments", "progress", "notifications", "integrations")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE bus.staff_actions (
            id uuid PRIMARY KEY,
            actor text NOT NULL,
            task text NOT NULL,
            subject jsonb NOT NULL,
            request_id text,
            done_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX ix_staff_actions_actor ON bus.staff_actions (actor, done_at)")
    for service in SERVICES:  # what was done stays: no service may change or delete it
        op.execute(f"REVOKE ALL ON bus.staff_actions FROM coursebus_{service}")  # 0023 gave one of them all new tables
        op.execute(f"GRANT SELECT, INSERT ON bus.staff_actions TO coursebus_{service}")


def downgrade() -> None:
    op.execute("DROP TABLE bus.staff_actions")
