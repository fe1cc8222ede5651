"""What is kept of one customer: told whole on request, and erased but for the books."""
