"""What `waybill demo` plays on a running platform: acts, and books that must balance after them."""
