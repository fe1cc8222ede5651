"""Plots of a bench as PNG, with matplotlib: an extra, since only this needs it."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from waybill.operations.bench.figures import by_second

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from waybill.operations.bench.figures import Latency, Measured, Sample

MISSING: Final = (
    "no plots: matplotlib is not installed (pip install 'waybill[bench]', or make setup)"
)
SIZE_INCHES: Final = (8.0, 4.5)
DOTS_PER_INCH: Final = 110
BYTES_PER_MEGABYTE: Final = 1_000_000


def available() -> bool:
    """Whether they can be drawn here."""
    return find_spec("matplotlib") is not None


def draw(phases: Sequence[Measured], samples: Sequence[Sample], directory: Path) -> list[Path]:
    """Write latency.png, throughput.png and memory.png. Needs matplotlib."""
    return [
        _save(_latencies(phases), directory / "latency.png"),
        _save(_throughput(phases, samples), directory / "throughput.png"),
        _save(_memory(phases, samples), directory / "memory.png"),
    ]


def draw_comparison(found: Mapping[str, Sequence[Measured]], directory: Path) -> Path:
    """Write comparison.png: of each blueprint how long orders took to their good end."""
    title = "From the intended send to the good end"
    figure, axes = _figure(title, "milliseconds", "share of orders, %")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for number, (name, phases) in enumerate(found.items()):
        for phase, style in zip(phases, cycle(("-", ":", "--", "-."))):
            label = f"{name}: {phase.name}"
            _curve(axes, phase.confirmed_seen, label, color=f"C{number}", style=style)
    return _save((figure, axes), directory / "comparison.png")


def _figure(title: str, across: str, up: str) -> tuple[Any, Any]:
    # The object interface: no global state, no window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _save(drawn: tuple[Any, Any], path: Path) -> Path:
    figure, axes = drawn
    axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path


def _latencies(phases: Sequence[Measured]) -> tuple[Any, Any]:
    figure, axes = _figure("Latency from the intended send", "milliseconds", "share of orders, %")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for number, phase in enumerate(phases):
        color = f"C{number}"
        _curve(axes, phase.post, f"{phase.name}: POST", color=color, style=":")
        _curve(axes, phase.confirmed_seen, f"{phase.name}: CONFIRMED", color=color, style="-")
    return figure, axes


def _curve(axes: Any, found: Latency, label: str, *, color: str, style: str) -> None:  # noqa: ANN401 - matplotlib's
    share = [percent for percent, _ in found.curve]
    axes.plot([ms for _, ms in found.curve], share, label=label, color=color, linestyle=style)


def _throughput(phases: Sequence[Measured], samples: Sequence[Sample]) -> tuple[Any, Any]:
    figure, axes = _figure("Throughput", "seconds since the run began", "orders a second")
    rates = by_second(samples)
    at = [seconds for seconds, _, _ in rates]
    axes.plot(at, [accepted for _, accepted, _ in rates], label="accepted", linestyle=":")
    axes.plot(at, [confirmed for _, _, confirmed in rates], label="confirmed")
    axes.set_ylim(bottom=0)
    _mark(axes, phases)
    return figure, axes


def _memory(phases: Sequence[Measured], samples: Sequence[Sample]) -> tuple[Any, Any]:
    figure, axes = _figure("Memory", "seconds since the run began", "MB")
    at = [sample.seconds for sample in samples]
    for label, values in (
        ("Python", [sample.python_bytes for sample in samples]),
        ("PostgreSQL", [sample.postgres_bytes for sample in samples]),
    ):
        axes.plot(at, [value / BYTES_PER_MEGABYTE for value in values], label=label)
    axes.set_ylim(bottom=0)
    _mark(axes, phases)
    return figure, axes


def _mark(axes: Any, phases: Sequence[Measured]) -> None:  # noqa: ANN401 - matplotlib's
    """Shade what was measured; the rest is warm-up and rest."""
    for number, phase in enumerate(phases):
        ended = phase.began_seconds + phase.seconds
        color = f"C{number + 2}"
        axes.axvspan(phase.began_seconds, ended, alpha=0.12, color=color, label=phase.name)
