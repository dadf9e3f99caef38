"""Measurements on models: what they cost."""
