"""Routes of the users service."""
