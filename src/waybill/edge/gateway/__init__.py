"""The gateway: one entry for every service."""
