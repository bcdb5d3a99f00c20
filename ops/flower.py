"""How Flower runs: it reads this file as its configuration. FLOWER_BASIC_AUTH stands in the environment."""

from models import log

log.configure("flower")  # in place of Tornado's own lines
persistent = False  # what the workers did before is in the logs
