"""Quantities: labs, measurements, wearables and surveys, one number for each person."""
