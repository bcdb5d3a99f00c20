"""``python -m ops.healthcheck``: whether the process of this container lives, for the image's HEALTHCHECK.

HEALTH_URL is asked where it is set, else METRICS_PORT, else the gateway at 8000; nothing but the standard library is
loaded for it.
"""

import os
from urllib.request import urlopen

port = int(os.environ.get("METRICS_PORT") or 0)
url = os.environ.get("HEALTH_URL") or (f"http://127.0.0.1:{port}/metrics" if port else "http://127.0.0.1:8000/livez")
with urlopen(url, timeout=4) as answer:  # noqa: S310 our own address; an error ends this with 1
    answer.read()
