"""One fault: a text of the source that stands there exactly once, and what is put in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StaleMutantError(Exception):
    """The source has changed: the fault cannot be planted as the catalogue says."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A fault with the tests that must notice it.

    `fault` says what is wrong in the code, `harm` what a user would see of it. `file` stands in
    src/waybill, `tests` are node ids below tests/. `hangs`: the fault shows as a test that does
    not end, so that running out of time counts as caught.
    """

    name: str
    fault: str
    harm: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    hangs: bool = False

    def applied_to(self, source: str) -> str:
        """The source with the fault. Raises StaleMutantError unless `old` stands there once."""
        count = source.count(self.old)
        if count != 1:
            raise StaleMutantError(
                f"{self.name}: its old text stands {count} times in {self.file}, not once: "
                f"bring the catalogue up to date"
            )
        return source.replace(self.old, self.new)

    def plant(self, source_root: Path) -> None:
        """Put the fault into the copy of src/ at `source_root`. Raises StaleMutantError."""
        path = source_root / "waybill" / self.file
        path.write_text(self.applied_to(path.read_text()))
