"""One suite a port. Derive a test class, give it the fixtures that its docstring names."""
