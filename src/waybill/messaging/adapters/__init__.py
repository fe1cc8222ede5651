"""One technology each; no adapter imports another."""
