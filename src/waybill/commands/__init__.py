"""The commands of `waybill` that look into a platform's data: what an operator runs."""
