"""The payment service: charges and refunds, each at most once an order."""
