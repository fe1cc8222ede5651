"""Ratios of Waybill to what else one could use, both sides on one machine. Not part of the package.

See README.md; `make bench-ratios` runs it.
"""
