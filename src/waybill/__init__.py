"""Waybill: an event-driven order-fulfilment platform and the messaging core it stands on."""
