"""The whole platform on one machine: real servers from wheels, kept up by supervisord, no root and no Docker.

make up                              the same by hand: python -m ops.dev up
Stack(state_dir, port_base).start()  the same from a test

processes.py   what runs, on which port, by which command
stack.py       starts it in order, finds it again, stops all of it
postgres.py, valkey.py, kafka.py, mongo.py, mail.py   one embedded server each
../fakes/      local servers that implement the APIs of Auth0, Stripe and YooKassa
"""
