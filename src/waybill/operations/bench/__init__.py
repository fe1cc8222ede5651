"""`waybill bench`: what a platform carries, what an order costs, and that the books balance."""
