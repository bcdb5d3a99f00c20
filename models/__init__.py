"""Code shared by every process: tables with their rules, events and errors. Imports only ``settings``."""
