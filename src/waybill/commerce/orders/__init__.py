"""The order service: places orders and hosts their process."""
