"""Connect Alembic to the database that ``__main__`` names; each migration runs in its own transaction."""

import time

from alembic import context
from flask import current_app
from sqlalchemy import create_engine, pool, text

from core.db import Base, network_options

url = current_app.config["DATABASE_URL"]
engine = create_engine(url, poolclass=pool.NullPool, connect_args=network_options(url))

with engine.connect() as connection:
    # A second concurrent process waits here and then finds nothing left to do. It holds no snapshot between its
    # attempts, because CREATE INDEX CONCURRENTLY would wait for it.
    while not connection.scalar(text("SELECT pg_try_advisory_lock(hashtext('coursebus migrations'))")):
        connection.commit()
        time.sleep(0.1)
    connection.commit()
    context.configure(
        connection=connection, target_metadata=Base.metadata, include_schemas=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
