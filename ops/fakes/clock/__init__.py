"""A clock that tests advance, so that subscriptions go through months, and an endpoint that runs jobs on demand."""
