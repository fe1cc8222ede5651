"""The notification service: one record for every finished order."""
