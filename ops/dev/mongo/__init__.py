"""A server that speaks MongoDB's protocol, for development and tests: ``python -m ops.dev.mongo``.

No package registry offers MongoDB's own server as a package that installs without an account or a container. This one
executes the operators and commands that the project uses with MongoDB's types and rules, and refuses all others.

documents.py   operators of queries and updates, and the order of values
storage.py     collections in memory and in a SQLite file, with indexes and expiry
commands.py    find, update, insert, delete, findAndModify, createIndexes, …
wire.py        the wire protocol
"""
