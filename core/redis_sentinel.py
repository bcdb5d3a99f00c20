"""Connections to the Redis server that Sentinels name as master, for redis-py and for Celery.

``rediss+sentinel://user:password@a:26379,b:26379,c:26379/0?master=queue&sentinel_password=…`` names the Sentinels, the
login of the server and its database. Each new connection asks for the present master; after a failover the old
connections are closed by the server.
"""

from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis import Connection, SSLConnection
from redis.sentinel import Sentinel

SUFFIX = "+sentinel"
OPTIONS = {"master", "sentinel_username", "sentinel_password"}
_PORT = 26379
_TIMEOUT_SECONDS = 1


def is_sentinel(url: str) -> bool:
    return urlsplit(url).scheme.endswith(SUFFIX)


def sentinel_addresses(url: str) -> list[tuple[str, int]]:
    """Return the hosts and ports of the Sentinels."""
    hosts = (urlsplit(f"//{host}") for host in urlsplit(url).netloc.rpartition("@")[2].split(","))
    return [(host.hostname or "", host.port or _PORT) for host in hosts]


@cache
def connection_classes(url: str, tls: tuple[tuple[str, Any], ...]) -> tuple[type[Connection], type[SSLConnection]]:
    """Return the classes of connections to the master, without and with TLS. ``tls`` has redis-py's TLS options."""
    query = dict(parse_qsl(urlsplit(url).query))
    login = {name: query.get(f"sentinel_{name}") for name in ("username", "password")}
    options = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS, **login}
    sentinels = Sentinel(sentinel_addresses(url), sentinel_kwargs=options | ({"ssl": True, **dict(tls)} if tls else {}))

    class MasterConnection(Connection):
        def _connect(self) -> Any:
            self.host, self.port = sentinels.discover_master(query["master"])
            return super()._connect()

    class MasterSSLConnection(SSLConnection):
        def _connect(self) -> Any:
            self.host, self.port = sentinels.discover_master(query["master"])
            return super()._connect()

    return MasterConnection, MasterSSLConnection
