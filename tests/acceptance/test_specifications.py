"""Every service of every blueprint does what its OpenAPI says, to callers with tokens."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.acceptance.processes import OFFSETS, PlatformProcess, free_port_base
from tests.acceptance.signing_in import GENEROUS, sign_in_both
from tests.acceptance.stages import STAGES

from waybill.blueprints.catalogue import BLUEPRINTS
from waybill.edge.gateway.routes import ROUTES, RouteSet
from waybill.platform.services import plans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemathesis import BaseSchema

EXAMPLES_AN_OPERATION = 4
GATEWAY = "http://127.0.0.1:{port}"
OF_THE_GATEWAY = frozenset((400, 404, 413, 429))
"""What it may answer before any service is asked; a 5xx of its own would be an outage here."""
SHOWN_IN_EACH = [
    name if name == "checkout" else pytest.param(name, marks=pytest.mark.long)
    for name in BLUEPRINTS
]
pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module", params=SHOWN_IN_EACH)
def platform(
    request: pytest.FixtureRequest, session_directory: Path, provisioned_data: Path
) -> Iterator[PlatformProcess]:
    """Each blueprint with accounts and gateway."""
    directory = Path(tempfile.mkdtemp(prefix="specifications-", dir=session_directory))
    directory.chmod(0o711)
    STAGES[request.param].copy(provisioned_data, directory / "data")
    platform = PlatformProcess(
        directory / "data",
        port_base=free_port_base(),
        environment={
            "WAYBILL_BLUEPRINT": request.param,
            "WAYBILL_EDGE": "true",
            "WAYBILL_PAYMENT_WAIT_SECONDS": "0.2",
            **GENEROUS,
        },
    )
    platform.has_edge = True
    platform.without = frozenset(set(OFFSETS) - set(plans_of(BLUEPRINTS[request.param])))
    try:
        platform.start()
        sign_in_both(platform)
        yield platform
    finally:
        platform.close()
        shutil.rmtree(directory, ignore_errors=True)


def offsets(platform: PlatformProcess) -> dict[str, int]:
    """The ports of all services, above the base."""
    plans = plans_of(BLUEPRINTS[platform.environment["WAYBILL_BLUEPRINT"]])
    return {name: plan.port_offset for name, plan in plans.items()} | {"accounts": 6}


def document(url: str) -> BaseSchema:
    """A running service's."""
    config = SchemathesisConfig(seed=20261122)
    return schemathesis.openapi.from_url(f"{url}/api-docs", config=config)


def each_case(schema: BaseSchema, check: Callable[[schemathesis.Case[Any]], None]) -> int:
    """Try some cases of every operation; how many operations there are."""
    count = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        count += 1

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES_AN_OPERATION,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def tried(case: schemathesis.Case[Any]) -> None:
            check(case)

        tried()
    return count


def test_services_answer_as_documented(platform: PlatformProcess) -> None:
    """API9: no 5xx, documented statuses, types and bodies; without the token it is 401."""

    def check(case: schemathesis.Case[Any]) -> None:
        # To JSON Schema 2.0 is an integer, to us it is not (C35); nor does it know what exists.
        case.call_and_validate(
            headers=platform.as_operator, excluded_checks=[positive_data_acceptance]
        )

    operations = sum(
        each_case(document(platform.url(offset)), check) for offset in offsets(platform).values()
    )
    assert operations > 30


def test_the_gateway_adds_no_answer_of_its_own(platform: PlatformProcess) -> None:
    """The same documents through the gateway: what they say, or what it refuses by itself."""
    routes, tried = RouteSet(ROUTES), set[str]()

    def check(case: schemathesis.Case[Any]) -> None:
        if routes.find(case.operation.path.partition("{")[0].rstrip("/")) is None:
            return
        answer = case.call(base_url=platform.url(0), headers=platform.as_operator)
        documented = {int(status) for status in case.operation.definition.raw["responses"]}
        where = f"{case.method} {answer.request.url}: {answer.status_code} {answer.text}"
        assert answer.status_code in documented | OF_THE_GATEWAY, where
        assert answer.status_code < 500, where
        tried.add(case.operation.path)

    for offset in offsets(platform).values():
        each_case(document(platform.url(offset)), check)
    assert "/api/v1/auth/login" in tried
    assert len(tried) > 5
