import pytest

from tests.support.databases import Database
from tests.support.tasks import Notes


@pytest.fixture
def notes(database: Database) -> Notes:
    return Notes(database)
