"""SQL of notifications on MariaDB and MySQL: see `store`."""

from __future__ import annotations

OF_ORDER = """
SELECT id, order_id, kind, message, status, created_at
FROM app_notifications WHERE `key` IN ($1) ORDER BY created_at, kind
"""
