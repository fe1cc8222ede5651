"""Revisions of the notification service's own tables."""
