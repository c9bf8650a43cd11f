"""Simulated cohorts of many ancestries, with traits whose truth is known."""
