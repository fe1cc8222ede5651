"""Whether a changed schema may keep its version: within one, only optional members are added.

Topics hold old records for as long as they are retained, strangers write as well as read, and
services are not replaced at once. So a member that is removed, becomes optional or required, or
changes its type, bounds or values breaks somebody: it needs a new version and an upcast (C39).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]
_SAID = frozenset(("$schema", "$defs", "$ref", "title", "description", "examples"))
"""Says nothing about values, or is followed: names and texts may change freely."""


def breaks(published: Schema, today: Schema) -> list[str]:
    """Every change that a reader or a writer of the published schema would notice, with its place.

    Empty: the new schema may stand under the same version.
    """
    return [*_Comparison(published, today).of(published, today, "")]


class _Comparison:
    """Two documents, each with parts of its own."""

    def __init__(self, published: Schema, today: Schema) -> None:
        self._published = published
        self._today = today

    def of(self, before: Any, after: Any, place: str) -> Iterator[str]:  # noqa: ANN401 - any JSON
        """The breaking changes below this place."""
        if not isinstance(before, dict) or not isinstance(after, dict):
            if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
                for index, (old, new) in enumerate(zip(before, after, strict=True)):
                    yield from self.of(old, new, f"{place}/{index}")
            elif before != after:
                yield f"{place or '/'}: {before!r} became {after!r}"
            return
        before, after = _followed(before, self._published), _followed(after, self._today)
        yield from self._members(before, after, place)
        for keyword in sorted((before.keys() | after.keys()) - _SAID - {"properties", "required"}):
            if keyword not in before or keyword not in after:
                change = "is gone" if keyword in before else "is new"
                yield f"{place or '/'}: {keyword} {change}"
            else:
                yield from self.of(before[keyword], after[keyword], f"{place}/{keyword}")

    def _members(self, before: Schema, after: Schema, place: str) -> Iterator[str]:
        old, new = before.get("properties", {}), after.get("properties", {})
        needed, needs = {*before.get("required", ())}, {*after.get("required", ())}
        for name in sorted(old.keys() - new.keys()):
            yield f"{place}/{name}: the member is gone"
        for name in sorted(needs - needed):
            yield f"{place}/{name}: the member became required"
        for name in sorted((needed - needs) & new.keys()):
            yield f"{place}/{name}: the member became optional"
        for name in sorted(old.keys() & new.keys()):
            yield from self.of(old[name], new[name], f"{place}/{name}")


def _followed(schema: Schema, document: Schema) -> Schema:
    """The part that it refers to, with what stands beside the reference."""
    if "$ref" not in schema:
        return schema
    part = document["$defs"][schema["$ref"].rpartition("/")[2]]
    return {**part, **{name: value for name, value in schema.items() if name != "$ref"}}
