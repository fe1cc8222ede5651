"""Access tokens: what is verified of them, and where the keys for that come from."""
