"""Indexes of the audit log: by the ids in the commands."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE INDEX ix_staff_actions_subject_ids ON bus.staff_actions
        USING gin (jsonb_path_query_array(subject, '$.*') jsonb_path_ops)""")
