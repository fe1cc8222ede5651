"""Revisions of the inventory service's own tables on MariaDB and MySQL."""
