"""The design of seed 003 in Python: outbox polled each 500 ms, one message a transaction."""
