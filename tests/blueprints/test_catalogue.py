"""Blueprints are values that hold together, and what is shown of them is derived from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from waybill.blueprints.catalogue import BLUEPRINTS, DEFAULT, EVERY, blueprint_named
from waybill.blueprints.choreography import CHOREOGRAPHY
from waybill.blueprints.orchestration import ORCHESTRATION
from waybill.cli import app
from waybill.messaging.core.errors import ConfigurationError
from waybill.platform.blueprint_page import endpoints_of, page_of
from waybill.platform.chosen import chosen, claim
from waybill.platform.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from waybill.blueprints.definition import Blueprint

every_blueprint = pytest.mark.parametrize("blueprint", EVERY.values(), ids=list(EVERY))


@every_blueprint
def test_services_act_on_what_stands_in_the_topic(blueprint: Blueprint) -> None:
    """A consumer that waits for an event in the wrong topic would wait for ever."""
    for service in blueprint.services.values():
        for topic, events in service.acts_on.items():
            assert set(events) <= set(blueprint.topics[topic]), (service.name, topic)


@every_blueprint
def test_the_host_hears_every_fact_and_can_tell_all_that_is_owed(blueprint: Blueprint) -> None:
    """The host reads each answer of its process; asks, undos and endings have readers."""
    names = {event.__name__ for event in blueprint.service(blueprint.host).events}
    process, notices = blueprint.process, blueprint.orders.notices
    shown = blueprint.order_process
    # What its own calls come to is no message; what it owes them for is one of its own.
    own = {notices.done.__name__, notices.refused.__name__} if notices else set[str]()
    asks = {step.ask for step in process.steps if not step.called}
    assert names - asks - {shown.wish} == process.facts - {"CancelRequested"} - own - asks
    followed = {event.__name__ for event in blueprint.service("order").events}
    assert followed - asks == shown.facts - {"CancelRequested"} - own
    told = asks | {step.undo for step in process.steps} | {process.confirmed.event}
    heard = {each.__name__ for one in blueprint.services.values() for each in one.events}
    assert {name for name in told if name} <= heard


@every_blueprint
def test_every_event_has_one_name_on_the_wire(blueprint: Blueprint) -> None:
    """Readers skip by name: who acts on one of two events of a name acts on both."""
    for service in blueprint.services.values():
        names = blueprint.wire_names(service.events)
        there = {e for topic in service.acts_on for e in blueprint.topics[topic]}
        assert {e for e in there if blueprint.wire_names((e,))[0] in names} == {*service.events}


@every_blueprint
def test_its_page_has_all_of_it(blueprint: Blueprint) -> None:
    """Diagrams, topics, events and endpoints come from the definition."""
    page = page_of(blueprint)
    for topic in blueprint.topics:
        assert f"`{topic}`" in page
    for name in blueprint.wire_names(blueprint.events):
        assert f"`{name}`" in page
    for status, nexts in blueprint.order_process.lifecycle.items():
        assert all(f"{status} --> {each}" in page for each in nexts)
    assert page.count("```mermaid") == 3 + blueprint.process.cancellable
    contract = blueprint.orders.contract
    endpoints = set(endpoints_of(blueprint))
    for path in (contract.path, *contract.aliases):
        assert ("order-service", "POST", path) in endpoints


def test_a_topic_that_nobody_writes_is_refused() -> None:
    """Its readers would wait for ever."""
    with pytest.raises(ConfigurationError, match="every topic needs one service that writes it"):
        replace(CHOREOGRAPHY, topics={**CHOREOGRAPHY.topics, "nobody's": ()})


def test_an_orchestrator_that_is_told_nothing_is_refused() -> None:
    """And the line says what to add, or what to leave out."""
    with pytest.raises(ConfigurationError, match=r"say what with `orchestrator`, or leave that"):
        replace(ORCHESTRATION, orchestrator=None)


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match="there is no blueprint 'x': choose one of choreo"):
        blueprint_named("x")


def test_data_remember_their_blueprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New data are the default's or what is asked for; then only that, and another is refused."""
    settings = Settings.load(data_directory=tmp_path)
    assert chosen(settings) is DEFAULT
    other = replace(CHOREOGRAPHY, name="other")
    monkeypatch.setitem(BLUEPRINTS, "other", other)
    asked = Settings.load(data_directory=tmp_path, blueprint="other")
    assert claim(asked) is other
    assert chosen(settings) is other
    refused = Settings.load(data_directory=tmp_path, blueprint="choreography")
    with pytest.raises(ConfigurationError, match="holds data of the blueprint 'other', not of"):
        claim(refused)


def test_data_from_before_there_were_blueprints_are_the_defaults(tmp_path: Path) -> None:
    """They have a database and say nothing."""
    (tmp_path / "postgres").mkdir()
    assert claim(Settings.load(data_directory=tmp_path)) is DEFAULT
    assert (tmp_path / "blueprint").read_text() == "choreography\n"


def test_the_list_has_the_variants_too(capsys: pytest.CaptureFixture[str]) -> None:
    """`waybill blueprints` names what a setting makes of a blueprint, with the setting."""
    app(["blueprints"], standalone_mode=False)
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [*BLUEPRINTS, "reservation-paid"]
    assert "WAYBILL_PAYMENT_STEP" in listed[-1]
