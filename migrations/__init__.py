"""Numbered steps of the schema; ``python -m migrations upgrade`` brings every database of the services up to date."""
