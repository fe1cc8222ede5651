"""Revisions of the order service's own tables on MariaDB and MySQL."""
