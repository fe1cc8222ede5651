"""The order services: their pure domains, handlers and stores."""
