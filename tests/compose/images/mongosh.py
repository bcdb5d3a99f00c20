#!/venv/bin/python
"""The ping of the health check; MongoDB's shell is not installed."""

import pymongo

pymongo.MongoClient("mongodb://127.0.0.1:27017", serverSelectionTimeoutMS=2000).admin.command("ping")
