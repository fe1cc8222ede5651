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
    from waybill.operations.bench.outage import Outage
    from waybill.operations.bench.results import Results

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


def draw_comparison(found: Mapping[str, Results], directory: Path) -> Path:
    """Write comparison.png: how long orders took to their good end, and an outage if there was one.

    Of the outage: the orders that had been accepted and had not come to their good end.
    """
    with_outage = any(results.outage is not None for results in found.values())
    figure, axes, *below = _figures(2 if with_outage else 1)
    _label(axes, "From the intended send to the good end", "milliseconds", "share of orders, %")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for number, (name, results) in enumerate(found.items()):
        for phase, style in zip(results.phases, cycle(("-", ":", "--", "-."))):
            label = f"{name}: {phase.name}"
            _curve(axes, phase.confirmed_seen, label, color=f"C{number}", style=style)
    for under in below:
        _outages(under, {name: each.outage for name, each in found.items() if each.outage})
    return _save((figure, (axes, *below)), directory / "comparison.png")


def _outages(axes: Any, outages: Mapping[str, Outage]) -> None:  # noqa: ANN401 - matplotlib's
    title = "Whoever is called outside is away (shaded)"
    _label(axes, title, "seconds since it went away", "orders not at their good end")
    for number, (name, outage) in enumerate(outages.items()):
        at = [each.seconds - outage.began_seconds for each in outage.samples]
        waiting = [each.accepted - each.confirmed for each in outage.samples]
        axes.plot(at, waiting, label=f"{name}: {outage.target}", color=f"C{number}")
    axes.axvspan(0, min(outage.seconds for outage in outages.values()), alpha=0.12, color="grey")
    axes.set_ylim(bottom=0)


def _figure(title: str, across: str, up: str) -> tuple[Any, Any]:
    figure, axes = _figures(1)
    _label(axes, title, across, up)
    return figure, axes


def _figures(count: int) -> tuple[Any, ...]:
    """A figure, and so many axes below each other."""
    # The object interface: no global state, no window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    width, height = SIZE_INCHES
    figure = Figure(figsize=(width, height * count), layout="constrained")
    FigureCanvasAgg(figure)
    return (figure, *(figure.add_subplot(count, 1, number + 1) for number in range(count)))


def _label(axes: Any, title: str, across: str, up: str) -> None:  # noqa: ANN401 - matplotlib's
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)


def _save(drawn: tuple[Any, Any], path: Path) -> Path:
    figure, axes = drawn
    for each in axes if isinstance(axes, tuple) else (axes,):
        each.legend(loc="best", fontsize="small")
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
