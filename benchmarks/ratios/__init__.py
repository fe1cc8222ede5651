"""One module a ratio, or two that are measured together."""
