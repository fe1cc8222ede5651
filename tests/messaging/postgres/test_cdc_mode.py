"""An outbox that a connector reads: how it gets into that mode, and out of it (protocol L6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from waybill.messaging.adapters.postgres import relay_status
from waybill.messaging.adapters.postgres.relay_mode import (
    attach,
    drain,
    require_direct,
    require_relay,
)
from waybill.messaging.core.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.messaging.postgres.relay_world import RelayWorld

LOG = "memory"


async def watch(world: RelayWorld) -> None:
    """What a service in mode cdc does at its start."""
    await require_relay(world.database, "parcels", "cdc")
    await attach(world.database, "parcels", LOG, rewind_seconds=600, mode="cdc")


async def test_a_connector_takes_over_where_the_relay_was_drained(world: RelayWorld) -> None:
    """Not before: what the relay has not sent would be sent by nobody."""
    await world.publish("k")
    with pytest.raises(ConfigurationError, match="WAYBILL_OUTBOX_MODE=relay"):
        await watch(world)
    relay = await world.start()
    await world.drained()
    await world.stop(relay)
    drained = await drain(world.database)
    assert not drained.behind
    await watch(world)
    status = await relay_status.look(world.database)
    assert status.mode == "cdc"
    await watch(world)  # a restart changes nothing
    assert (await relay_status.look(world.database)).mode == "cdc"


async def test_neither_relay_nor_readers_go_on_beside_a_connector(world: RelayWorld) -> None:
    """Until a drain has seen that the topics have everything."""
    await watch(world)
    await world.publish("k")
    for start in (require_relay, require_direct):
        with pytest.raises(ConfigurationError, match="WAYBILL_OUTBOX_MODE=cdc"):
            await start(world.database, "parcels")
    assert (await drain(world.database)).behind
    await world.database.fetch(
        "UPDATE messaging.outbox_lane SET position = (SELECT max(seq) FROM messaging.outbox)"
    )
    assert not (await drain(world.database)).behind
    await require_relay(world.database, "parcels")
    assert (await relay_status.look(world.database)).mode == "relay"
