"""Nobody asks without end; and Redis being away stops sales before it stops reading."""

import time

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import settings
from api import limits
from api.limits import LocalWindows
from models.redis import cache_redis, queue_redis
from tests.api.test_problems import problem
from tests.gateway import Person, know


@pytest.fixture(autouse=True)
def limits_are_on(monkeypatch):
    monkeypatch.setattr(settings, "RATE_LIMITS", True)
    monkeypatch.setattr(limits, "_local", LocalWindows())
    for server in (cache_redis(), queue_redis()):
        for key in server.scan_iter("limit:*"):
            server.delete(key)


@pytest.fixture
def redis_is_away(monkeypatch):
    away = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
    for script in limits._scripts.values():  # noqa: SLF001 the test stands for the network
        monkeypatch.setattr(script, "registered_client", away)


def use_up(limit: limits.Limit, key: str, amount: int) -> None:
    limit.server().set(f"limit:{limit.name}:{key}", amount, ex=30)


def buy(ann: Person):
    return ann.send("POST", "/v1/things/a/purchase", Idempotency_Key="k")


def test_each_answer_tells_what_is_left(ann: Person):
    response = ann.get("/v1/things/machines")

    assert response.headers["RateLimit-Policy"] == '"address";q=6000;w=60, "caller";q=600;w=60'
    assert response.headers["RateLimit"] == '"caller";r=599;t=60'
    assert ann.get("/v1/things/machines").headers["RateLimit"].startswith('"caller";r=598;t=')


def test_above_the_limit_is_a_429_that_says_when_to_come_back(ann: Person):
    use_up(limits.READ, f"caller:{ann.sub}", 600)
    response = ann.get("/v1/things/machines")

    assert problem(response) == (429, "rate_limited")
    assert response.headers["RateLimit"] == '"caller";r=0;t=30'
    assert response.headers["Retry-After"] == "30"


def test_callers_do_not_use_up_each_others_limits(ann: Person):
    use_up(limits.READ, f"caller:{ann.sub}", 600)

    bob = Person(ann.client, permissions=ann.permissions)
    know(bob)
    assert bob.get("/v1/things/machines").status_code == 200


def test_reads_writes_and_purchases_are_counted_apart(ann: Person):
    use_up(limits.READ, f"caller:{ann.sub}", 600)
    use_up(limits.WRITE, f"caller:{ann.sub}", 120)

    assert ann.send("POST", "/v1/things", {}).status_code == 429
    assert buy(ann).status_code == 200
    use_up(limits.MONEY, f"caller:{ann.sub}", 20)
    assert buy(ann).status_code == 429


def test_an_address_may_not_try_tokens_for_ever(client):
    use_up(limits.READ, "address:127.0.0.1", 6000)

    assert client.get("/v1/me", headers={"Authorization": "Bearer x"}).status_code == 429


def test_an_ipv6_network_is_one_address(client):
    first = client.get("/v1/things", environ_base={"REMOTE_ADDR": "2001:db8::1"})
    second = client.get("/v1/things", environ_base={"REMOTE_ADDR": "2001:db8::2"})

    assert first.headers["RateLimit"].startswith('"address";r=5999')
    assert second.headers["RateLimit"].startswith('"address";r=5998')


def test_probes_are_never_counted(client):
    use_up(limits.READ, "address:127.0.0.1", 6000)

    assert client.get("/livez").status_code == 200
    assert "RateLimit" not in client.get("/livez").headers


def test_without_redis_reads_fall_to_a_cap_of_this_process(ann: Person, redis_is_away, monkeypatch):
    assert ann.get("/v1/things/machines").headers["RateLimit"] == '"caller";r=599;t=60'
    monkeypatch.setattr(limits._local, "_windows", {f"limit:read:caller:{ann.sub}": (time.monotonic() + 9, 600)})  # noqa: SLF001

    assert ann.get("/v1/things/machines").status_code == 429


def test_without_redis_what_costs_money_is_refused(ann: Person, redis_is_away):
    assert problem(buy(ann)) == (503, "unavailable")
    assert ann.client.post("/v1/things/hook").status_code == 200


def test_a_local_window_ends(monkeypatch):
    windows = LocalWindows()
    assert windows.count(["a", "b", "a"]) == [1, 60, 1, 60, 2, 60]
    later = time.monotonic() + limits.WINDOW_SECONDS
    monkeypatch.setattr(limits.time, "monotonic", lambda: later)

    assert windows.count(["a"])[0] == 1


def test_local_windows_do_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(LocalWindows, "MOST", 10)
    windows = LocalWindows()
    for number in range(100):
        windows.count([str(number)])

    assert len(windows._windows) <= 11  # noqa: SLF001


def test_limits_can_be_lifted_but_not_in_production(ann: Person, monkeypatch):
    monkeypatch.setattr(settings, "RATE_LIMITS", False)
    use_up(limits.READ, f"caller:{ann.sub}", 600)
    assert ann.get("/v1/things/machines").status_code == 200

    monkeypatch.setattr(settings, "ENVIRONMENT", "production")
    monkeypatch.setattr(settings, "WEBHOOK_LOOPBACK", False)
    monkeypatch.setattr(settings, "STRIPE_API_URL", "https://api.stripe.com")
    monkeypatch.setattr(settings, "YOOKASSA_API_URL", "https://api.yookassa.ru/v3")
    for name in ("STRIPE_WEBHOOK_SECRET", "AUTH0_DOMAIN", "SECRET_KEY"):
        monkeypatch.setenv(name, "set")
    with pytest.raises(SystemExit, match="RATE_LIMITS"):
        settings.refuse_unsafe_production()


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/start.js", "/nothing"])
def test_documents_and_unknown_paths_are_limited(client, path):
    assert client.get(path).headers["RateLimit"].startswith('"address";r=')
    use_up(limits.READ, "address:127.0.0.1", 6000)

    assert client.get(path).status_code == 429


def test_readiness_is_limited_by_each_process_alone(client, redis_is_away):
    assert client.get("/readyz").headers["RateLimit"].startswith('"address";r=59')
