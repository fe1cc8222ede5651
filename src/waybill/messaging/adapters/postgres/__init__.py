"""Messaging on PostgreSQL 15 and later, through asyncpg."""
