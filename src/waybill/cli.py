"""The `waybill` command."""


def main() -> None:
    """Run it."""
