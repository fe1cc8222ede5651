"""A blueprint as a page of Markdown: all of it derived from what the services run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from waybill.blueprints import diagrams
from waybill.blueprints.schemas import members_of, schemas_of
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from waybill.blueprints.definition import Blueprint

_HEAD = "| {} |\n|{}|"


def page_of(blueprint: Blueprint) -> str:
    """Diagrams, topics with their events, services with their endpoints."""
    sections = [
        f"# {blueprint.name}",
        f"{blueprint.summary}. From {blueprint.source}.",
        "## Flow",
        _mermaid(diagrams.flow(blueprint)),
        "## Sequence",
        _mermaid(diagrams.sequence(blueprint)),
        *_cancel(blueprint),
        "## States",
        _mermaid(diagrams.states(blueprint)),
        "## Topics",
        "\n".join(_topics(blueprint)),
        f"What a reader cannot apply goes to `<topic>{blueprint.dead_letter_suffix}`.",
        "## Events",
        "\n".join(_events(blueprint)),
        "## Endpoints",
        "\n".join(_endpoints(blueprint)),
    ]
    return "\n\n".join(sections)


def endpoints_of(blueprint: Blueprint) -> Iterator[tuple[str, str, str]]:
    """Service, method and path of everything that its services answer."""
    for plan in plans_of(blueprint).values():
        # The routes alone are asked for: what they would work with is never touched.
        surface = plan.surface(blueprint)
        found = {(hot.path, hot.method) for hot in surface.hot}
        for route in surface.routes:
            if isinstance(route, Route):
                found |= {(route.path, method) for method in {*(route.methods or ())} - {"HEAD"}}
        for path, method in sorted(found):
            yield plan.name, method, path


def _cancel(blueprint: Blueprint) -> Iterator[str]:
    if blueprint.process.cancellable:
        yield "## Cancel"
        yield _mermaid(diagrams.cancel(blueprint))


def _mermaid(text: str) -> str:
    return f"```mermaid\n{text}\n```"


def _table(*titles: str) -> str:
    return _HEAD.format(" | ".join(titles), "---|" * (len(titles) - 1) + "---")


def _topics(blueprint: Blueprint) -> Iterator[str]:
    yield _table("Topic", "Written by", "Events", "Read by")
    for topic, events in blueprint.topics.items():
        readers = [each.name for each in blueprint.services.values() if topic in each.acts_on]
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(blueprint.wire_names(events)))
        writers = ", ".join(each.name for each in blueprint.writers(topic))
        yield f"| `{topic}` | {writers} | {names} | {', '.join(readers)} |"


def _events(blueprint: Blueprint) -> Iterator[str]:
    yield _table("Event", "Version", "Members; those with `?` may be missing")
    for name, version, schema in schemas_of(blueprint):
        members = (f"`{member}`{'' if always else '?'}" for member, always in members_of(schema))
        yield f"| `{name}` | {version} | {', '.join(members)} |"


def _endpoints(blueprint: Blueprint) -> Iterator[str]:
    yield _table("Service", "Method", "Path")
    for service, method, path in endpoints_of(blueprint):
        yield f"| {service} | {method} | `{path}` |"
