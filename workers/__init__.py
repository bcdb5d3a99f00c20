"""The services. Each service is one package; the package, its queue and the prefix of its task names are the same word.

``@task`` registers a function as a Celery task. Parameters before ``*`` are dependencies injected by the worker
(workers/resources.py); parameters after it are the fields of the message, and their types are its schema. ``@job``
registers a periodic task.
"""

from . import _canary, _deadletters, _maintenance, _operations, _personal, _quarantine
from ._jobs import job
from ._metrics import fact
from ._projections import projection
from ._tasks import task

# Modules with an underscore contain the runtime and the tasks that every service has.
__all__ = [
    "_canary",
    "_deadletters",
    "_maintenance",
    "_operations",
    "_personal",
    "_quarantine",
    "fact",
    "job",
    "projection",
    "task",
]
