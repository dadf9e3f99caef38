"""Folders of data: their check, and configs for them."""
