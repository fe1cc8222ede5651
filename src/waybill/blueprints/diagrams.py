"""Mermaid diagrams of a blueprint, derived from its definition: they cannot drift from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waybill.commerce.process import CANCEL_REQUESTED, Fact, advance, begin, may_cancel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from waybill.blueprints.definition import Blueprint, Service
    from waybill.commerce.process import Ending, Process, Progress, Step

_NOTICE = "POST /notify"


def flow(blueprint: Blueprint) -> str:
    """Who sends what to whom."""
    lines = ["flowchart LR", "    client([client])"]
    services = blueprint.services.values()
    lines += [f"    {each.database}[{each.name}]" for each in services]
    lines.append("    client -->|HTTP| order")
    called = [step for step in blueprint.process.steps if step.called]
    lines += [f"    order -->|HTTP| {_answering(blueprint, step)}" for step in called]
    for writer in services:
        for reader in services:
            events = [e for t in reader.reads_of(writer) for e in reader.hears(writer, t)]
            if events:
                names = ",<br/>".join(blueprint.wire_names(tuple(events)))
                lines.append(f"    {writer.database} -->|{names}| {reader.database}")
    if blueprint.orders.notices:
        lines.append(f"    order -->|{_NOTICE}| notification")
    return "\n".join(lines)


def states(blueprint: Blueprint) -> str:
    """The state machine of an order."""
    process = blueprint.order_process
    lines = ["stateDiagram-v2", f"    [*] --> {process.initial}"]
    for here, nexts in process.lifecycle.items():
        lines += [f"    {here} --> {there}" for there in sorted(nexts)]
    lines += [f"    {status} --> [*]" for status in sorted(process.terminal)]
    return "\n".join(lines)


def sequence(blueprint: Blueprint) -> str:
    """An order that is confirmed, and every way in which it fails."""
    process = blueprint.process
    lines = ["sequenceDiagram", "    participant client"]
    lines += [f"    participant {each.database}" for each in blueprint.services.values()]
    lines.append(f"    client->>order: an order ({process.initial})")
    told: set[str] = set()
    steps = [step for step in process.steps if step.refused]
    for step in process.steps:
        if step not in steps:
            told.add(step.ask)
            lines += _told(blueprint, [step.ask, *_progress(blueprint, step)])
    for step in steps:
        if step in process.afterwards[:1]:
            lines += _confirmed(blueprint, told)
        lines += _asked(blueprint, step, told)
        if blueprint.orders.notices:
            lines.append(f"    order->>notification: {_NOTICE}")
        lines.append(f"    alt {step.name} refused")
        lines += _told(blueprint, [step.refused, *_failure(process.steps, step, process.failed)])
        lines.append(f"    else {step.name} done")
        lines += _told(blueprint, [step.done, *_progress(blueprint, step)])
    if not process.afterwards:
        lines += _confirmed(blueprint, told)
    lines += ["    end"] * len(steps)
    return "\n".join(lines)


def _confirmed(blueprint: Blueprint, told: set[str]) -> Iterator[str]:
    ending = blueprint.process.confirmed
    yield f"    Note over order: {ending.status}"
    yield from _told(blueprint, _told_of(ending))
    told.update(_told_of(ending))


def _asked(blueprint: Blueprint, step: Step, told: set[str]) -> Iterator[str]:
    if step.called:
        yield f"    order->>{_answering(blueprint, step)}: HTTP, inside the request"
    elif step.ask not in told:
        yield from _told(blueprint, [step.ask])
    told.add(step.ask)


def _answering(blueprint: Blueprint, step: Step) -> str:
    """The database of the service that tells of this step."""
    answer = next(each for each in blueprint.events if each.__name__ == step.done)
    return blueprint.teller(answer).database


def _progress(blueprint: Blueprint, step: Step) -> list[str]:
    """How an orchestrator tells that this step is done."""
    told = blueprint.orchestrator.progress if blueprint.orchestrator else {}
    return [told[step.status]] if step.status and step.status in told else []


def _failure(steps: Sequence[Step], refused: Step, failed: Ending) -> Iterator[str]:
    """What an order tells that fails at this step, and the answers."""
    yield from _told_of(failed)
    for step in reversed(steps[: steps.index(refused)]):
        if step.undo and step.undone:
            yield step.undo
            yield step.undone


def _told_of(ending: Ending) -> tuple[str, ...]:
    return (ending.event,) if ending.event else ()


def _told(blueprint: Blueprint, names: Iterable[str]) -> Iterator[str]:
    """Facts that stand in no topic are no messages."""
    events = {event.__name__: event for event in blueprint.events}
    for event in (events[name] for name in names if name in events):
        name = event.__name__
        (wire_name,) = blueprint.wire_names((event,))
        writer = blueprint.teller(event)
        for reader in _readers(blueprint, name):
            yield f"    {writer.database}->>{reader.database}: {wire_name}"


def _readers(blueprint: Blueprint, name: str) -> list[Service]:
    return [
        service
        for service in blueprint.services.values()
        if name in {event.__name__ for event in service.events}
    ]


def cancel(blueprint: Blueprint) -> str:
    """A customer cancels as late as they may, and the step that is under way is done all the same.

    What is told and undone is what the process itself owes then.
    """
    process = blueprint.process
    lines = ["sequenceDiagram", "    participant client"]
    lines += [f"    participant {each.database}" for each in blueprint.services.values()]
    lines.append("    client->>order: cancel")
    wish = blueprint.order_process.wish
    lines += _told(blueprint, [wish] if wish else [])
    latest, under_way = _latest(process)
    canceled = advance(process, latest, Fact(CANCEL_REQUESTED))
    lines += _told(blueprint, _answered(process, canceled.emits))
    lines.append(f"    Note over order: {canceled.progress.status}")
    if under_way is not None:
        late = advance(process, canceled.progress, Fact(under_way.done))
        if late.emits:
            lines.append(f"    opt {under_way.name} is done all the same")
            lines += _told(blueprint, [under_way.done, *_answered(process, late.emits)])
            lines.append("    end")
    return "\n".join(lines)


def _latest(process: Process) -> tuple[Progress, Step | None]:
    """As far as an order may be that can still be cancelled, and the step that is next then."""
    progress = begin(process)
    if process.taken is not None:
        progress = advance(process, progress, Fact(process.taken)).progress
    for step in process.steps:
        later = advance(process, progress, Fact(step.done)).progress
        if not may_cancel(process, later):
            return progress, step
        progress = later
    return progress, None


def _answered(process: Process, names: Iterable[str]) -> Iterator[str]:
    """Each event, an undo with the answer to it."""
    answers = {step.undo: step.undone for step in process.steps}
    for name in names:
        yield name
        if answer := answers.get(name):
            yield answer
