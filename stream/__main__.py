"""``python -m stream`` serves the stream of notifications at PORT_BASE + 1."""

from gevent import monkey

monkey.patch_all()  # before anything opens a socket or makes a lock

from stream.server import main  # noqa: E402 as above

if __name__ == "__main__":
    main()
