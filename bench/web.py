"""Measure the pages of the running local stack: ``python -m bench.web [--seconds 10] [path ...]``.

Prints for each page its bytes, and the response times of CLIENTS that request it in a closed loop. The target holds
for the catalogue; without other load, and with warm caches. The clients run on the same machine.
"""

import argparse
import statistics
import threading
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

import settings
from bench.targets import report

CLIENTS = 16
PATHS = ["/", "/plans", "/courses/ukulele-in-thirty-days"]
P95_MS = 60
PAGE_BYTES = 100_000


def measure(path: str, seconds: float) -> tuple[int, list[float]]:
    """Return the bytes of the page, and all response times in milliseconds."""
    times: list[float] = []
    sizes: list[int] = []
    until = time.monotonic() + seconds

    def request_in_a_loop() -> None:
        connection = HTTPConnection(urlsplit(settings.WEB_URL).netloc, timeout=30)
        while time.monotonic() < until:
            began = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            sizes.append(len(response.read()))
            times.append((time.perf_counter() - began) * 1000)
            assert response.status == 200, f"{path} is answered with {response.status}"
        connection.close()

    clients = [threading.Thread(target=request_in_a_loop) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return max(sizes), times


def main() -> None:
    """Measure each page once to warm the caches, then for the given time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=PATHS)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    for path in arguments.paths:
        measure(path, 1)
        size, times = measure(path, arguments.seconds)
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"{path}: {size:,} bytes, {len(times) / arguments.seconds:,.0f}/s, p50 {p50:.0f} ms", flush=True)
        report(f"{path} bytes", size, PAGE_BYTES, at_most=True)
        report(f"{path} p95 in ms, {CLIENTS} clients", p95, P95_MS, at_most=True)


if __name__ == "__main__":
    main()
