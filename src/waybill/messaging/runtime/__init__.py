"""The loops over the ports: consumer, deliverer, scheduler, group commit, and who keeps them up."""
