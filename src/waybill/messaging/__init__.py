"""Reliable messaging for a service of your own: outbox, inbox, consumers, deliveries."""
