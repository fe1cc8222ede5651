"""Fetches jars by plain Maven into a cache that every checkout of a user shares.

A directory appears whole, by one rename; two processes at once fetch it once. Its name holds the
pom's version and fingerprint, so that another version is another directory.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

from scripts.kafka import machine

BROKER = Path(__file__).parent / "broker.pom.xml"
CONNECT = BROKER.with_name("connect.pom.xml")
DEBEZIUM = BROKER.with_name("debezium.pom.xml")
_NAMESPACE = "{http://maven.apache.org/POM/4.0.0}"
_FETCH_SECONDS = 900


class UnfetchedError(Exception):
    """Maven could not bring the jars."""


def fetched(pom: Path = BROKER) -> Path:
    """The directory of a pom's jars, fetched now if it is not there yet.

    Of Debezium it holds the plugin's directory, as `plugin.path` wants it.
    """
    target = machine.cache() / _name(pom)
    if not target.exists():
        with machine.one_at_a_time(target.with_name(f"{target.name}.lock")):
            if not target.exists():
                _fetch(pom, target)
    return target


def _name(pom: Path) -> str:
    project = ET.parse(pom).getroot()  # noqa: S314 - a file of this repository
    artifact, version = (project.findtext(_NAMESPACE + tag) for tag in ("artifactId", "version"))
    return f"{artifact}-{version}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:8]}"


def _fetch(pom: Path, target: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        # Maven leaves files beside the pom that it works on.
        own, half = Path(shutil.copy(pom, scratch / "pom.xml")), scratch / "jars"
        command = [
            *(machine.program("mvn"), "-B", "-ntp", "-q", "-f", str(own)),
            "dependency:unpack-dependencies" if pom == DEBEZIUM else "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={half}",
        ]
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS
        )
        if done.returncode != 0 or not any(half.rglob("*.jar")):
            said = (done.stdout + done.stderr).strip()[-600:]
            raise UnfetchedError(f"Maven could not fetch the jars of {pom}:\n{said}")
        half.chmod(0o755)
        half.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
