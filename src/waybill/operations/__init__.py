"""What an operator runs against a platform."""
