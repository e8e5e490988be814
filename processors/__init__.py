"""Processors: pure functions over a batch of spans."""
