"""Caches in front of the database, which stays the truth: losing them costs latency only."""
