"""One figure of a service's /metrics."""

from __future__ import annotations

from waybill.messaging.core.errors import TransientError
from waybill.operations.http_client import Connection

_OK = 200


async def metric(host: str, port: int, name: str, label: str = "") -> float:
    """A sample's value, summed over its labels; 0 without any. Raises TransientError.

    `label`, as `outcome="failed"`: only of the samples that have it.
    """
    connection = Connection(host, port)
    try:
        answer = await connection.request("GET", "/metrics")
    except OSError as error:
        raise TransientError(f"no metrics from {host}:{port}: {error}") from error
    finally:
        connection.close()
    if answer.status != _OK:
        raise TransientError(f"{host}:{port}/metrics answered {answer.status}")
    return sum(
        float(line.rpartition(" ")[2])
        for line in answer.body.decode().splitlines()
        if line.startswith(name) and line[len(name)] in " {" and label in line
    )
