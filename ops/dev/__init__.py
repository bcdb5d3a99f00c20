"""Run the whole platform on one machine: servers installed from wheels, supervised by supervisord, no root, no Docker.

make up                              start the stack; the same as python -m ops.dev up
Stack(state_dir, port_base).start()  start a stack from a test

processes.py   the table of processes with their ports and commands
stack.py       starts the processes in order, finds them again and stops them
postgres.py, valkey.py, kafka.py, mongo/, mail.py   one embedded server each
../fakes/      local servers that implement the APIs of Auth0, Stripe, YooKassa and the push services
"""
