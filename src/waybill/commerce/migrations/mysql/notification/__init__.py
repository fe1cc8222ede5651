"""Revisions of the notification service's own tables on MariaDB and MySQL."""
