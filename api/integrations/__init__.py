"""Integration and operator routes: event feed, webhooks, dead letters, quarantine, audit log, jobs, status."""
