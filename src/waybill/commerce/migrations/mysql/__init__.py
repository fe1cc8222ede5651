"""Alembic revisions of the services' own tables on MariaDB and MySQL, and what they share.

Both call a database a schema, so a table of the schema `app` begins with `app_` there, and a
documented view of the schema `reservation` with `reservation_`; the other documented views have no
prefix. These servers commit before each CREATE, so every statement may find its work done already.
"""
