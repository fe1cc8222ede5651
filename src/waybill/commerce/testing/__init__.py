"""For those who plug in a payment provider of their own: its contract, and servers to try on."""
