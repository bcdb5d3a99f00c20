"""Rate limits per caller and address. If Redis is down, purchases are rejected and reads continue."""

import time

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import settings
from api import rate_limits
from api.rate_limits import InProcessWindows
from core.redis import cache_redis, queue_redis
from tests.support.gateway import Person, cache_account, problem


@pytest.fixture(autouse=True)
def rate_limits_enabled(monkeypatch):
    monkeypatch.setattr(settings, "RATE_LIMITS", True)
    monkeypatch.setattr(rate_limits, "_in_process", InProcessWindows())
    for server in (cache_redis(), queue_redis()):
        for key in server.scan_iter("limit:*"):
            server.delete(key)


@pytest.fixture
def redis_unavailable(monkeypatch):
    unreachable = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    for script in rate_limits._scripts.values():  # noqa: SLF001 simulates the network
        monkeypatch.setattr(script, "registered_client", unreachable)


def use_up(limit: rate_limits.Limit, key: str, amount: int) -> None:
    limit.server().set(f"limit:{limit.name}:{key}", amount, ex=30)


def buy(ann: Person):
    return ann.send("POST", "/v1/things/a/purchase", Idempotency_Key="k")


def test_responses_report_remaining_quota(ann: Person):
    response = ann.get("/v1/things/machines")

    assert response.headers["RateLimit-Policy"] == '"address";q=6000;w=60, "caller";q=600;w=60'
    assert response.headers["RateLimit"] == '"caller";r=599;t=60'
    assert ann.get("/v1/things/machines").headers["RateLimit"].startswith('"caller";r=598;t=')


def test_exceeded_limit_returns_429_with_retry_after(ann: Person):
    use_up(rate_limits.READ, f"caller:{ann.sub}", 600)
    response = ann.get("/v1/things/machines")

    assert problem(response) == (429, "rate_limited")
    assert response.headers["RateLimit"] == '"caller";r=0;t=30'
    assert response.headers["Retry-After"] == "30"


def test_limits_are_counted_per_caller(ann: Person):
    use_up(rate_limits.READ, f"caller:{ann.sub}", 600)

    bob = Person(ann.client, permissions=ann.permissions)
    cache_account(bob)
    assert bob.get("/v1/things/machines").status_code == 200


def test_reads_writes_and_purchases_have_separate_limits(ann: Person):
    use_up(rate_limits.READ, f"caller:{ann.sub}", 600)
    use_up(rate_limits.WRITE, f"caller:{ann.sub}", 120)

    assert ann.send("POST", "/v1/things", {}).status_code == 429
    assert buy(ann).status_code == 200
    use_up(rate_limits.PAYMENT, f"caller:{ann.sub}", 20)
    assert buy(ann).status_code == 429


def test_invalid_tokens_are_rate_limited_by_ip(client):
    use_up(rate_limits.READ, "address:127.0.0.1", 6000)

    assert client.get("/v1/me", headers={"Authorization": "Bearer x"}).status_code == 429


def test_ipv6_addresses_of_one_network_share_a_limit(client):
    first = client.get("/v1/things", environ_base={"REMOTE_ADDR": "2001:db8::1"})
    second = client.get("/v1/things", environ_base={"REMOTE_ADDR": "2001:db8::2"})

    assert first.headers["RateLimit"].startswith('"address";r=5999')
    assert second.headers["RateLimit"].startswith('"address";r=5998')


def test_liveness_probes_are_not_limited(client):
    use_up(rate_limits.READ, "address:127.0.0.1", 6000)

    assert client.get("/livez").status_code == 200
    assert "RateLimit" not in client.get("/livez").headers


def test_reads_use_in_process_limit_when_redis_is_down(ann: Person, redis_unavailable, monkeypatch):
    assert ann.get("/v1/things/machines").headers["RateLimit"] == '"caller";r=599;t=60'
    used_up = {f"limit:read:caller:{ann.sub}": (time.monotonic() + 9, 600)}
    monkeypatch.setattr(rate_limits._in_process, "_windows", used_up)  # noqa: SLF001

    assert ann.get("/v1/things/machines").status_code == 429


def test_purchases_return_503_when_redis_is_down(ann: Person, redis_unavailable):
    assert problem(buy(ann)) == (503, "unavailable")
    assert ann.client.post("/v1/things/hook").status_code == 200


def test_in_process_window_expires(monkeypatch):
    windows = InProcessWindows()
    assert windows.count(["a", "b", "a"]) == [1, 60, 1, 60, 2, 60]
    later = time.monotonic() + rate_limits.WINDOW_SECONDS
    monkeypatch.setattr(rate_limits.time, "monotonic", lambda: later)

    assert windows.count(["a"])[0] == 1


def test_in_process_windows_are_bounded(monkeypatch):
    monkeypatch.setattr(InProcessWindows, "MAX_KEYS", 10)
    windows = InProcessWindows()
    for number in range(100):
        windows.count([str(number)])

    assert len(windows._windows) <= 11  # noqa: SLF001


def test_limits_can_be_disabled(ann: Person, monkeypatch):
    monkeypatch.setattr(settings, "RATE_LIMITS", False)
    use_up(rate_limits.READ, f"caller:{ann.sub}", 600)
    assert ann.get("/v1/things/machines").status_code == 200


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/start.js", "/nothing"])
def test_docs_and_unknown_paths_are_limited(client, path):
    assert client.get(path).headers["RateLimit"].startswith('"address";r=')
    use_up(rate_limits.READ, "address:127.0.0.1", 6000)

    assert client.get(path).status_code == 429


def test_readiness_is_limited_in_process(client, redis_unavailable):
    assert client.get("/readyz").headers["RateLimit"].startswith('"address";r=59')
