"""The gateway and a worker without their metrics, for bench/metrics.py."""

from contextlib import nullcontext

import api
from api import metrics
from bench.tasks import app
from workers import _tasks

__all__ = ["app", "gateway"]

metrics.add_to = lambda _app: None
_tasks.measured = lambda _delivery: nullcontext()

gateway = api.create_app
