"""`python -m waybill` is the `waybill` command."""

from waybill.cli import main

main()
