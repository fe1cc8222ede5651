"""Revisions of the inventory service's own tables."""
