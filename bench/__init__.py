"""Measurements, never tests: each prints figures or ratios of one run."""
