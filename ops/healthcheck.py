"""Check whether the process of this container is ready, for the image's HEALTHCHECK: ``python -m ops.healthcheck``.

The check requests HEALTH_URL if it is set, else ``/readyz`` at METRICS_PORT, else that of the gateway at port 8000. It
imports only the standard library, so that it starts fast.
"""

import os
from urllib.request import urlopen

port = int(os.environ.get("METRICS_PORT") or 0)
url = os.environ.get("HEALTH_URL") or f"http://127.0.0.1:{port or 8000}/readyz"
with urlopen(url, timeout=4) as answer:  # noqa: S310 a local address; an error exits with 1
    answer.read()
