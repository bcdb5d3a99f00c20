"""``python -m stream`` serves the notification stream at STREAM_BIND, by default port PORT_BASE + 1."""

from gevent import monkey

monkey.patch_all()  # before any import opens a socket or creates a lock

from stream.server import main  # noqa: E402 as above

if __name__ == "__main__":
    main()
