"""The gateway and a worker without their metrics, for bench/metrics.py."""

from contextlib import nullcontext

import api
from api import metrics
from bench.tasks import app
from workers.runtime import tasks

__all__ = ["app", "gateway"]

metrics.init_app = lambda _app: None
tasks.observe_execution = lambda _delivery: nullcontext()

gateway = api.create_app
