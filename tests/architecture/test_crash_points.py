"""The register of crash points and the code name the same points."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from waybill.commerce import crash_points as of_commerce
from waybill.messaging.core.crash_points import registered

SOURCE = Path(__file__).parents[2] / "src" / "waybill"
NAME = re.compile(r"[a-z_]+\.(before|after)_[a-z_]+")
REGISTERS = {SOURCE / "messaging/core/crash_points.py", SOURCE / "commerce/crash_points.py"}


def points_in(source: str) -> set[str]:
    """Every string of a module that is made like a point's name."""
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and NAME.fullmatch(node.value)
    }


def stands_in_the_code() -> set[str]:
    """The points that the product comes to, whichever part of it."""
    paths = {path for path in SOURCE.rglob("*.py") if "testing" not in path.parts} - REGISTERS
    return set[str]().union(*(points_in(path.read_text()) for path in paths))


def test_a_point_is_registered_and_stands_in_the_code() -> None:
    """Neither a misspelt point nor one that the code never comes to can hide."""
    assert of_commerce.POINTS.items() <= registered().items()
    assert stands_in_the_code() == set(registered())


def test_a_point_has_a_name_of_its_kind_and_a_sentence() -> None:
    """What is listed for people says something, and `before` has its `after`."""
    for name, point in registered().items():
        assert NAME.fullmatch(name)
        assert point.sentence.endswith(".")
        if ".before_" in name:
            assert name.replace(".before_", ".after_") in registered()
