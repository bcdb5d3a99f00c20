"""Run Celery beat, which triggers the jobs: ``SERVICE=beat python -m beat`` loads no service (``celery_app.py``)."""

from celery_app import celery_app

if __name__ == "__main__":
    celery_app.Beat(quiet=True).run()
