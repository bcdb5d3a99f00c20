"""The services. One module a service; its module, its queue and its tasks share one name.

``@task`` is the edge: in a task's signature, what stands before the ``*`` the worker lends (workers/resources.py); what
stands after it came over the queue, and its types are the schema of the message. ``@job`` is a task that time starts.
"""

from . import _canary, _deadletters, _maintenance, _operations, _personal, _quarantine
from ._jobs import job
from ._metrics import fact
from ._projections import projection
from ._tasks import task

# Those with an underscore are tasks of every service.
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
