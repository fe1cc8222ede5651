"""R7: confirmed orders a second to the same saga as DBOS workflows on the same PostgreSQL.

DBOS has it easier: its orders begin in its own processes, without HTTP, and all of its tables are
in one database. Its settings are swept first, and the best of them is what it runs with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.dbos_side import Setting, confirmed_a_second, first_settings, further_settings
from benchmarks.environment import prepared
from benchmarks.load_side import Scenario
from benchmarks.pairs import Spread, alternate, ratio
from benchmarks.report import Result, figure

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.pairs import Budget


async def measure(bench: Bench, budget: Budget) -> list[Result]:
    """Sweep DBOS's settings, then alternate the best with Waybill's best topology."""
    await prepared()
    sweep: dict[Setting, float] = {}
    for setting in first_settings():
        sweep[setting] = await _dbos(bench, setting, bench.effort.sweep_seconds)
    for setting in further_settings(max(sweep, key=lambda setting: sweep[setting])):
        sweep[setting] = await _dbos(bench, setting, bench.effort.sweep_seconds)
    best = max(sweep, key=lambda setting: sweep[setting])

    async def dbos() -> float:
        return await _dbos(bench, best, bench.effort.seconds)

    topology = await bench.topology()

    async def waybill() -> float:
        return (await bench.waybill(Scenario(topology))).confirmed

    found = await alternate({"dbos": dbos, "waybill": waybill}, bench.effort.rounds, budget)
    return [
        Result(
            "R7",
            ratio(found["waybill"], found["dbos"]),
            {
                f"Waybill, {topology}": Spread.of(found["waybill"]),
                f"DBOS, {best}": Spread.of(found["dbos"]),
            },
            notes=[
                "DBOS swept, confirmed/s: "
                + "; ".join(f"{setting}: {figure(rate)}" for setting, rate in sweep.items())
            ],
            details={
                "dbos by setting": {str(setting): rate for setting, rate in sweep.items()},
                **found,
            },
        )
    ]


async def _dbos(bench: Bench, setting: Setting, seconds: float) -> float:
    with bench.scratch.fresh(bench.name("dbos")) as data:
        found = await confirmed_a_second(data, setting, bench.effort.warm_up_seconds, seconds)
    bench.say(f"  DBOS, {setting}: {found:.0f} confirmed/s")
    return found
