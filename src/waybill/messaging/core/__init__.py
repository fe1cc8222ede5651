"""The pure part of messaging: values and rules without a driver, a clock or an event loop."""
