"""Revisions of the accounts service's own tables."""
