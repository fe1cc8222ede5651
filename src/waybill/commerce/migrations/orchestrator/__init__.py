"""Revisions of the orchestrator's own tables."""
