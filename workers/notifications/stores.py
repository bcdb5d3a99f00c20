"""Dependencies of tasks: the stores in MongoDB."""

from collections.abc import Iterator

from models.notifications.mongodb import mongo_database
from models.notifications.notification_store import NotificationStore
from models.notifications.preference_store import PreferenceStore
from workers.runtime import dependencies
from workers.runtime.dependencies import dependency
from workers.runtime.execution import TaskExecution


@dependency
def notification_store(execution: TaskExecution) -> Iterator[NotificationStore]:
    """Provide the notifications of all users. Raises Unavailable if MongoDB does not respond."""
    with mongo_database() as database, dependencies.cache_after_commit(execution) as cache_after_commit:
        yield NotificationStore(database, cache_after_commit)


@dependency
def preference_store(_execution: TaskExecution) -> Iterator[PreferenceStore]:
    """Provide the preferences of all users. Raises Unavailable if MongoDB does not respond."""
    with mongo_database() as database:
        yield PreferenceStore(database)
