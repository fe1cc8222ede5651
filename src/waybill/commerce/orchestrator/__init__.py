"""The orchestrator: holds each order's process, decides its end and has undone what was done."""
