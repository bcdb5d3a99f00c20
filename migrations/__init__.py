"""Numbered migrations of the schema; ``python -m migrations upgrade`` applies them to every database of the
services.
"""
