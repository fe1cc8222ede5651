"""Revisions of the provider service's own tables."""
