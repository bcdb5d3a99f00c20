"""How gunicorn serves the gateway; a container overrides ``--bind``."""

import settings

bind = f"127.0.0.1:{settings.PORT_BASE}"
worker_class = "gthread"  # idle keep-alive connections wait in a poller and hold no thread
workers = 2  # one a core of a small machine; the gateway mostly waits for workers' replies
threads = 8  # requests that wait at the same time, in each worker
reuse_port = True  # else all keep-alive connections may land on one worker
keepalive = 75  # seconds; longer than the 60 of common load balancers, so that they close first
graceful_timeout = 20  # seconds; twice the deadline of a synchronous command
timeout = 60  # seconds without a sign of life from a worker, never reached by a request
max_requests = 0  # nothing leaks that a restart would have to hide
accesslog = None  # the gateway logs its requests itself, with what it knows of them
control_socket_disable = True  # the supervisor starts and stops it; a second door is not needed
