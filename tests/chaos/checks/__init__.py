"""The checks: every function below with ``@check`` is one; tests/chaos/checker.py finds them."""
