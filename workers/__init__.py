"""The services. Each service is one package; the package, its queue and the prefix of its task names are the same word.

``@task`` registers a function as a Celery task. Parameters before ``*`` are dependencies, which the worker resolves by
their types (workers/runtime/dependencies.py); parameters after it are the fields of the message, and their types are
its schema.
``@job`` registers a periodic task.
"""

from .common import dead_letters, maintenance, operations, personal_data, quarantine, staff_actions, status
from .runtime import event_messages, watchdog
from .runtime.jobs import job
from .runtime.metrics import database_metric
from .runtime.projections import projection
from .runtime.tasks import batch_handler, task

# These modules have the tasks of every service; importing them registers the tasks.
__all__ = [
    "batch_handler",
    "database_metric",
    "dead_letters",
    "event_messages",
    "job",
    "maintenance",
    "operations",
    "personal_data",
    "projection",
    "quarantine",
    "staff_actions",
    "status",
    "task",
    "watchdog",
]
