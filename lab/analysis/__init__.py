"""Measurements on checkpoints and models, a folder for each; docs/adding-an-analysis.md says how to add one."""
