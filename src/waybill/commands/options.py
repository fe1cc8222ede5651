"""What every command takes, before or after its name: the data directory and the port base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The platform's data directory. Default: .waybill"),
]
PortBase = Annotated[
    int | None,
    typer.Option(
        "--port-base",
        metavar="N",
        help="order N+1, payment N+2, inventory N+3, notification N+4. Default: 8080",
    ),
]
ChosenBlueprint = Annotated[
    str | None,
    typer.Option(
        "--blueprint",
        metavar="NAME",
        help="One of `waybill blueprints`. Default: that of the data, else choreography",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Listen where WAYBILL_HOST says, although nobody is asked for a token."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
Why = Annotated[str, typer.Option("--why", help="The reason, kept with the verdict.")]

Outboxes = Annotated[
    bool, typer.Option("--outboxes", help="The outboxes, although KAFKA_BROKERS is set.")
]
Partitions = Annotated[bool, typer.Option("--partitions", help="On Kafka: a line a partition.")]
