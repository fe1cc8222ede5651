"""The bill of materials of what an installation runs: CycloneDX, made of requirements.lock alone.

The same lock gives the same bytes: no clock, no chance, no network. `python scripts/sbom.py`
writes it; with `--check` it compares.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = "requirements.lock"
FILE: Final = "sbom.cdx.json"
SERIALS: Final = UUID("0d2a2c52-3f0a-5d3c-9b0e-6f4f5d0a6c11")
"""Namespace of the documents' serial numbers: one a lock."""
_PINNED: Final = re.compile(r"([a-z0-9][a-z0-9-]*)==([^ ;]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Write the bill, or with --check compare it; the exit status."""
    text = bill((ROOT / LOCK).read_bytes(), (ROOT / "pyproject.toml").read_text())
    if "--check" not in arguments:
        (ROOT / FILE).write_text(text)
        return 0
    if (ROOT / FILE).read_text() == text:
        return 0
    sys.stderr.write(f"{FILE} is not of this {LOCK}: run make lock\n")
    return 1


def bill(lock: bytes, pyproject: str) -> str:
    """The document's text."""
    project = tomllib.loads(pyproject)["project"]
    parts = list(packages(lock.decode()))
    whole = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=project["name"],
        licenses=[DisjunctiveLicense(id=project["license"])],
    )
    digest = sha256(lock).hexdigest()
    document = Bom(components=parts, serial_number=uuid5(SERIALS, digest))
    document.metadata.component = whole
    # The hashes of every file that may be installed stand there, each package with several.
    document.metadata.properties.add(Property(name=f"waybill:{LOCK}:sha256", value=digest))
    document.register_dependency(whole, parts)
    written = json.loads(JsonV1Dot6(document).output_as_string())
    del written["metadata"]["timestamp"]
    return json.dumps(written, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def packages(lock: str) -> Iterator[Component]:
    """What the lock pins, with the marker that it is installed under, if there is one."""
    for name, version, marker in _PINNED.findall(lock):
        url = PackageURL("pypi", name=name, version=version)
        yield Component(
            name=name,
            version=version,
            purl=url,
            bom_ref=url.to_string(),
            properties=[Property(name="waybill:marker", value=marker)] if marker else None,
        )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
