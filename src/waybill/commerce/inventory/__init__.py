"""The inventory service: reserves, releases and sells stock."""
