"""Revisions of the order service's own tables."""
