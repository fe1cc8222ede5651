"""The `waybill` command: explains itself, and says in one line what is wrong and what to do.

Exit status: 0 if the command did what it says, 1 if not, 2 for a wrong command line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from waybill.commands import (
    accounts,
    audit,
    bench,
    blueprints,
    consumers,
    customers,
    dead_letters,
    deliveries,
    drain,
    lag,
    outbox,
    own,
    prices,
    registry,
    relay,
    topics,
)
from waybill.commands.options import (  # noqa: TC001 - read by typer
    ChosenBlueprint,
    Data,
    Insecure,
    PortBase,
)
from waybill.commands.output import say
from waybill.commands.place import given, remember, settings_of
from waybill.messaging.core.errors import ConfigurationError, MessagingError

WithDatabase = Literal["order", "payment", "inventory", "notification", "orchestrator", "accounts"]

app = typer.Typer(
    name="waybill",
    help="Order fulfilment by events that are never lost and never applied twice.",
    epilog="Start with: waybill demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for name, group in (
    ("topics", topics.app),
    ("consumers", consumers.app),
    ("dead-letters", dead_letters.app),
    ("deliveries", deliveries.app),
    ("relay", relay.app),
    ("outbox", outbox.app),
    ("blueprints", blueprints.app),
    ("accounts", accounts.app),
    ("prices", prices.app),
    ("customers", customers.app),
):
    app.add_typer(group, name=name)
app.command("audit", short_help="Prove that nothing was lost, doubled or stranded.")(audit.audit)
app.command("provision", short_help="Make roles, databases and tables on your own PostgreSQL.")(
    own.provision
)
app.command("migrate", short_help="Bring the tables on your own PostgreSQL to this release.")(
    own.migrate
)
app.command("lag", short_help="Wait until every consumer keeps up: a gate for deployments.")(
    lag.lag
)
app.command("drain", short_help="Make ready to start on Kafka, or without it.")(drain.drain)
app.command("env", short_help="Write a .env with every variable and random secrets.")(own.env)
app.command("bench", short_help="Measure what a platform carries, and what an order costs.")(
    bench.bench
)
app.command("registry", short_help="List the instances of every service.")(registry.registry)


def main() -> None:
    """Run one command line. Errors of ours are one line on stderr, never a stack trace."""
    _open_what_is_closed()
    try:
        app()
    except MessagingError as error:
        sys.stderr.write(f"waybill: {error}\n")
        sys.exit(1)
    except BrokenPipeError:  # `waybill topics read … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _open_what_is_closed() -> None:
    """A closed standard stream is None in Python, and its number would go to the next file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - as long as we run


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from importlib.metadata import version as installed  # noqa: PLC0415 - fast help

        say(installed("waybill"))
        raise typer.Exit


@app.callback()
def before_the_command(
    data: Data = None,
    port_base: PortBase = None,
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Order fulfilment by events that are never lost and never applied twice.

    Settings are environment variables too: WAYBILL_DATA_DIRECTORY, WAYBILL_PORT_BASE, …
    """
    del version  # its callback has ended the command
    remember(data, port_base)


@app.command(short_help="Start every service, in the foreground.")
def up(
    data: Data = None,
    port_base: PortBase = None,
    *,
    blueprint: ChosenBlueprint = None,
    detach: Annotated[
        bool, typer.Option(help="In the background; returns when every service is ready.")
    ] = False,
    insecure: Insecure = False,
) -> None:
    """Start every service on a PostgreSQL of its own, in the foreground; Ctrl-C drains and ends.

    Example: waybill up --data .waybill --port-base 8080
    """
    settings = settings_of(data, port_base, blueprint=blueprint, insecure=insecure)
    if detach:
        from waybill.platform.background import start_in_background  # noqa: PLC0415 - fast help

        start_in_background(settings, say=say)
        return
    from waybill.platform.foreground import run_in_foreground  # noqa: PLC0415 - fast help

    run_in_foreground(settings)


@app.command(short_help="Run one service in a process of its own.")
def serve(
    service: Annotated[
        Literal[WithDatabase, "gateway", "registry"], typer.Argument(help="Which one.")
    ],
    data: Data = None,
    port_base: PortBase = None,
    *,
    blueprint: ChosenBlueprint = None,
    insecure: Insecure = False,
) -> None:
    """Run one service in a process of its own; the others of the same data run in theirs.

    Example: waybill serve order --data .waybill
    """
    from waybill.platform.foreground import (  # noqa: PLC0415 - fast help
        run_in_foreground,
        run_registry,
    )

    settings = settings_of(data, port_base, blueprint=blueprint, insecure=insecure)
    if service == "registry":
        run_registry(settings)
        return
    run_in_foreground(settings, (service,), shared=True)


@app.command()
def down(data: Data = None, port_base: PortBase = None) -> None:
    """Stop what runs on this data; data are kept.

    Example: waybill down --data .waybill
    """
    from waybill.platform.background import stop_in_background  # noqa: PLC0415 - fast help

    directory = settings_of(data, port_base).data_directory
    stopped = stop_in_background(directory)
    say(f"stopped: {directory}" if stopped else f"nothing runs on {directory}")


@app.command(short_help="Say of each service whether it is ready.")
def status(data: Data = None, port_base: PortBase = None) -> None:
    """Say of each service whether it is ready; the exit status is 0 if all are.

    Example: waybill status --port-base 8080
    """
    from waybill.platform.background import addresses, readiness  # noqa: PLC0415 - fast help

    settings = settings_of(data, port_base)
    found = readiness(settings)
    for name, url in addresses(settings).items():
        say(f"{name:<22} {url:<24} {found[name]}")
    if set(found.values()) != {"UP"}:
        raise typer.Exit(1)


@app.command(short_help="Show the background platform's log.")
def logs(
    data: Data = None,
    port_base: PortBase = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on; Ctrl-C ends.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="From the end.")] = 100,
) -> None:
    """Show the log of a platform that runs in the background.

    Example: waybill logs --follow
    """
    from waybill.platform.background import show_log  # noqa: PLC0415 - fast help

    show_log(settings_of(data, port_base).data_directory, lines=lines, follow=follow, say=say)


@app.command(short_help="Fill the stock again and place some orders.")
def seed(
    data: Data = None,
    port_base: PortBase = None,
    *,
    blueprint: ChosenBlueprint = None,
    orders: Annotated[int, typer.Option(min=0, max=10_000, help="How many to place.")] = 10,
) -> None:
    """Fill the stock of a running platform again, and place some orders.

    Example: waybill seed --orders 20
    """
    import asyncio  # noqa: PLC0415 - fast help

    from waybill.platform.seed import sow  # noqa: PLC0415 - as above

    settings = settings_of(data, port_base, blueprint=blueprint)
    asyncio.run(sow(settings, orders=orders, say=say))


@app.command(short_help="Orders of every kind, each one's way, the sums.")
def demo(
    data: Data = None,
    port_base: PortBase = None,
    *,
    blueprint: ChosenBlueprint = None,
    since: Annotated[
        float | None, typer.Option(help="The Unix time to count from: make's own set-up counts.")
    ] = None,
) -> None:
    """Place orders of every kind on a platform of its own, show each one's way, check the sums.

    With KAFKA_BROKERS its services meet on Kafka.

    Example: waybill demo --blueprint checkout
    """
    from rich.console import Console  # noqa: PLC0415 - fast help

    from waybill.platform.demonstration import run_demo  # noqa: PLC0415 - as above

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    data, port_base = given(data, port_base)
    run_demo(console, data_directory=data, port_base=port_base, blueprint=blueprint, since=since)


@app.command(short_help="Stop the platform and delete its data.")
def reset(
    data: Data = None,
    port_base: PortBase = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop what runs on this data and delete the data: orders, payments, stock, everything.

    Example: waybill reset --data .waybill --yes
    """
    from waybill.platform.background import stop_in_background  # noqa: PLC0415 - fast help
    from waybill.platform.databases import own_databases  # noqa: PLC0415 - as above
    from waybill.platform.embedded import EmbeddedPostgres  # noqa: PLC0415 - as above

    if own_databases() is not None:
        raise ConfigurationError("the databases are on a server of yours: drop them there yourself")
    directory = settings_of(data, port_base).data_directory
    if not directory.exists():
        say(f"there are no data in {directory}")
        return
    if not (yes or typer.confirm(f"Delete all data in {directory.absolute()}?")):
        raise typer.Exit(1)
    stop_in_background(directory)
    EmbeddedPostgres(directory).remove()
    say(f"deleted: {directory}")


@app.command(short_help="Open a service's database, read-only.")
def psql(
    service: Annotated[
        Literal["order", "payment", "inventory", "notification", "orchestrator", "provider"],
        typer.Argument(help="Whose database; provider is the payment simulator's ledger."),
    ],
    data: Data = None,
    port_base: PortBase = None,
    *,
    command: Annotated[
        str | None, typer.Option("--command", "-c", help="Run this and end.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Allow changes.")] = False,
) -> None:
    """Open a service's database in psql: read-only, unless --write says otherwise.

    Example: waybill psql order -c "SELECT status, count(*) FROM orders GROUP BY status"
    """
    import asyncio  # noqa: PLC0415 - fast help

    from waybill.platform.psql import open_psql  # noqa: PLC0415 - as above

    settings = settings_of(data, port_base)
    status_of_psql = asyncio.run(open_psql(settings, service, command=command, write=write))
    raise typer.Exit(status_of_psql)


@app.command()
def url(
    service: Annotated[WithDatabase, typer.Argument(help="Whose database.")],
    data: Data = None,
    port_base: PortBase = None,
    *,
    role: Annotated[
        Literal["reader", "service", "owner", "auditor"],
        typer.Option(help="reader sees the outbox only: what a subscriber of yours needs."),
    ] = "reader",
) -> None:
    """Print the URL of a service's database, password included.

    Example: waybill url order --role reader
    """
    from waybill.platform.databases import own_databases, urls_of  # noqa: PLC0415 - fast help
    from waybill.platform.embedded import EmbeddedPostgres  # noqa: PLC0415 - as above

    directory = settings_of(data, port_base).data_directory
    own = own_databases()
    if own is None and not (directory / "postgres").exists():
        raise ConfigurationError(f"{directory} holds no data: start with `waybill up`")
    say(getattr(urls_of(own or EmbeddedPostgres(directory), service), role))
