"""The checks: functions with ``@check`` in the modules of this package, imported by tests/chaos/checker.py."""
