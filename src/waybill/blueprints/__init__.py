"""The documented systems: each one a process, a wire contract and an HTTP contract."""
