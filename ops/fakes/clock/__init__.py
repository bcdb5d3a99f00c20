"""A clock that tests move, so that subscriptions see months pass; and a hand on the jobs that time would start."""
