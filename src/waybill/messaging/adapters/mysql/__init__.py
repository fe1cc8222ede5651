"""Messaging on MariaDB and MySQL. Needs the extra `mysql`, which is asyncmy."""
