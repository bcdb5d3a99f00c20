"""Routes of the progress service."""
