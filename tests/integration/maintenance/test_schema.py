"""The SQLAlchemy models and the migrations describe the same schema."""

import importlib
import pkgutil
import re
from types import ModuleType
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import String, inspect
from sqlalchemy.orm import Session

import core.bus
import models
from core.db import Base
from settings import ROOT

# Only the database needs to know indexes and some of its foreign keys, so models need not declare them.
UNDECLARED = {"remove_index", "remove_fk"}


def import_all(package: ModuleType) -> None:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def types_differ(_context: Any, _inspected: Any, _column: Any, stored: Any, declared: Any) -> bool | None:
    """Treat text and every string type as equal: enumerations are text with a CHECK constraint."""
    return False if isinstance(stored, String) and isinstance(declared, String) else None


@pytest.fixture(scope="module", autouse=True)
def every_table() -> None:
    import_all(models)
    import_all(core.bus)


def test_models_equal_migrated_schema(session: Session):
    options = {"include_schemas": True, "compare_type": types_differ, "compare_server_default": False}
    context = MigrationContext.configure(session.connection(), opts=options)

    # A difference is a tuple, or a list of tuples if a column has several.
    differences = [d if isinstance(d, tuple) else d[0] for d in compare_metadata(context, Base.metadata)]

    assert [d for d in differences if d[0] not in UNDECLARED] == []


def test_index_on_a_table_in_use_is_created_concurrently():
    """The migrations up to 0009 are older than the first release: their tables are empty."""
    later = [path for path in sorted((ROOT / "migrations" / "versions").glob("*.py")) if path.name[:4] > "0009"]
    for path in later:
        text = path.read_text()
        created = set(re.findall(r"CREATE TABLE (\S+)", text))
        for index in re.findall(r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)\S+ ON (\S+)", text):
            assert index in created, f"{path.name}: {index}"


def test_constraint_names_follow_convention(session: Session):
    inspector = inspect(session.connection())

    for table in Base.metadata.tables.values():
        name, schema = table.name, table.schema
        constraints = [
            inspector.get_pk_constraint(name, schema),
            *inspector.get_unique_constraints(name, schema),
            *inspector.get_foreign_keys(name, schema),
            *inspector.get_check_constraints(name, schema),
        ]
        prefixes = tuple(f"{kind}_{name}" for kind in ("pk", "uq", "fk", "ck"))
        assert [each["name"] for each in constraints if not str(each["name"]).startswith(prefixes)] == []
