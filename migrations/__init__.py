"""Schema migrations: ``python -m migrations upgrade`` brings the database of every service up to date.

The first seven steps are the baseline: one for the tables that all services share, then one per service.
They have no downgrade: drop the database instead.

``roles.py`` creates the roles of the services first.

How to add a step:

1. Change the models, then add ``versions/<number>_<noun>.py`` with the next number, plain SQL in ``op.execute`` and a
   downgrade; ``script.py.mako`` is the pattern, and ``down_revision`` names the step before it.
2. Write it so that the running version still works on the migrated tables (docs/upgrading.md): a new column is nullable
   or has a default, and what is renamed or dropped stays for one more version.
3. Keep locks short: add a constraint NOT VALID and validate it in a statement of its own, and fill a large table in
   batches outside the migration. Build an index on a table in use by ``repeatable.create_index_concurrently``: what
   stands before it in the step is committed first and must not run twice. ``lock_timeout`` aborts a step that would
   wait behind a long transaction.
4. Name constraints and indexes after their table and columns: ``pk_``, ``uq_``, ``fk_``, ``ck_``, ``ix_`` and ``ux_``
   (unique index). The service's role gets its grants on a new table of its own schema by default; revoke what it must
   not do. Grant access to a new table of the schema ``bus`` explicitly.

``tests/integration/maintenance/test_schema.py`` compares the models with the migrated schema.
"""
