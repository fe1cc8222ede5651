"""What serves HTTP: the application around a service's routes, actuator, documentation, server."""
