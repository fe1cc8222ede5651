"""Faults that are planted in copies of our own code, and the tests that must notice each of them.

Outside the package; `make mutants` runs it.
"""
