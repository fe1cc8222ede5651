"""Revisions of the payment service's own tables."""
