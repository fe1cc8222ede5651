"""The order services: their pure domains, handlers and stores."""

from waybill.commerce import crash_points as crash_points  # registers them
