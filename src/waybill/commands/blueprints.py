"""`waybill blueprints`: which documented systems there are, and what each is made of."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from waybill.commands.options import Data, PortBase  # noqa: TC001 - read by typer
from waybill.commands.output import say
from waybill.commands.place import settings_of

app = typer.Typer(
    help="The documented systems that can be run; draw one.",
    invoke_without_command=True,
)


class Form(StrEnum):
    """What `show` prints."""

    PAGE = "page"
    ASYNCAPI = "asyncapi"
    OPENAPI = "openapi"


@app.callback()
def list_blueprints(context: typer.Context) -> None:
    """The documented systems that a platform can run, one a line.

    Example: waybill blueprints
    """
    if context.invoked_subcommand is not None:
        return
    from waybill.blueprints.catalogue import EVERY  # noqa: PLC0415 - fast help

    for blueprint in EVERY.values():
        say(f"{blueprint.name:<16} {blueprint.source:<9} {blueprint.title}")


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(help="One of `waybill blueprints`. Default: that of the data.")
    ] = None,
    form: Annotated[
        Form,
        typer.Option(
            "--as", help="A page in Markdown, or the AsyncAPI 3 or OpenAPI 3.1 document (JSON)."
        ),
    ] = Form.PAGE,
    data: Data = None,
    port_base: PortBase = None,
) -> None:
    """Print one as Markdown: diagrams (Mermaid), topics, events and endpoints.

    All of it is derived from the definition that the services run on.

    Example: waybill blueprints show choreography --as asyncapi
    """
    from waybill.blueprints import asyncapi  # noqa: PLC0415 - fast help
    from waybill.blueprints.catalogue import blueprint_named  # noqa: PLC0415 - as above
    from waybill.platform import blueprint_openapi  # noqa: PLC0415 - as above
    from waybill.platform.blueprint_page import page_of  # noqa: PLC0415 - as above
    from waybill.platform.chosen import chosen  # noqa: PLC0415 - as above

    blueprint = blueprint_named(name) if name else chosen(settings_of(data, port_base))
    if form is Form.PAGE:
        say(page_of(blueprint))
    else:
        made = asyncapi if form is Form.ASYNCAPI else blueprint_openapi
        say(json.dumps(made.document(blueprint), indent=2, ensure_ascii=False))
