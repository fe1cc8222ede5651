"""A client of registries that speak Eureka's protocol: ours, Netflix' and Spring Cloud's.

Of several registries the first that answers is taken, and stays taken until it does not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from waybill.edge.registry.entries import UP
from waybill.messaging.core.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from waybill.edge.registry.discovery import Found
    from waybill.edge.registry.documents import Document

ANSWER_SECONDS_MAX: Final = 2.0
_PLACE: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_NOT_KNOWN: Final = 404
_REFUSED: Final = (401, 403)
_ASKS: Final = {"Accept": "application/json"}


class EurekaClient:
    """`urls` as `http://host:8761/eureka`. `close` it at the end."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        user: str = "",
        password: str = "",
        answer_seconds_max: float = ANSWER_SECONDS_MAX,
    ) -> None:
        self._urls = [_checked(url) for url in urls]
        if not self._urls:
            raise ConfigurationError("no registry is named: set WAYBILL_REGISTRY_URLS")
        self._client = httpx2.AsyncClient(
            auth=(user, password) if password else None,
            timeout=answer_seconds_max,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close its connections. May be repeated."""
        await self._client.aclose()

    async def register(self, app: str, instance: Document) -> None:
        """Tell of an instance, or anew how it is. May be repeated. Raises TransientError."""
        await self._call("POST", _path(app), json={"instance": instance})

    async def renew(self, app: str, instance_id: str, *, status: str, dirty_at: int) -> bool:
        """A heartbeat. False: it has to register again. Raises TransientError."""
        query = {"status": status, "lastDirtyTimestamp": str(dirty_at)}
        return await self._call("PUT", _path(app, instance_id), params=query) is not None

    async def cancel(self, app: str, instance_id: str) -> bool:
        """It goes. False: it was not there. Raises TransientError."""
        return await self._call("DELETE", _path(app, instance_id)) is not None

    async def instances(self) -> list[Document]:
        """Every instance, whatever its status. Raises TransientError."""
        answer = await self._call("GET", "apps/", headers=_ASKS)
        if answer is None:
            raise TransientError("the registry has no list of applications: is its URL right?")
        try:
            found = msgspec.json.decode(answer.content)["applications"]
            return [
                instance
                for application in _several(found.get("application"))
                for instance in _several(application.get("instance"))
            ]
        except (msgspec.DecodeError, LookupError, TypeError, AttributeError) as error:
            raise TransientError("the registry's answer is not Eureka's") from error

    async def _call(
        self,
        method: str,
        path: str,
        **given: Any,  # noqa: ANN401 - what httpx2 takes
    ) -> httpx2.Response | None:
        """The first answer of a registry; None for 404."""
        wrong = ""
        for url in list(self._urls):
            try:
                answer = await self._client.request(method, f"{url}/{path}", **given)
            except httpx2.HTTPError as error:
                wrong = type(error).__name__
            else:
                if answer.status_code == _NOT_KNOWN:
                    return None
                if answer.is_success:
                    return answer
                wrong = f"status {answer.status_code}"
                if answer.status_code in _REFUSED:
                    wrong += ": is REGISTRY_PASSWORD right?"
            self._urls.append(self._urls.pop(0))
        raise TransientError(f"no registry answers {method} {path}: {wrong}")


class EurekaDiscovery:
    """A `Discovery` over a registry. Applications have our services' names, in capitals."""

    def __init__(self, client: EurekaClient) -> None:
        self._client = client

    async def find(self, services: Collection[str]) -> Found:
        """See Discovery. One request for all of them."""
        wanted = {name.upper(): name for name in services}
        found: dict[str, list[str]] = {name: [] for name in services}
        for instance in await self._client.instances():
            name = wanted.get(str(instance.get("app", "")).upper())
            url = address_of(instance)
            if name is not None and url and instance.get("status") == UP:
                found[name].append(url)
        return {name: tuple(sorted(urls)) for name, urls in found.items()}

    async def close(self) -> None:
        """See Discovery."""
        await self._client.close()


def address_of(instance: Document) -> str:
    """`https://` if it has a secure port, else `http://`; empty if it names no host or port."""
    host = str(instance.get("hostName") or instance.get("ipAddr") or "")
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    for scheme, member in (("https", "securePort"), ("http", "port")):
        port = instance.get(member)
        if isinstance(port, dict) and str(port.get("@enabled")).lower() == "true":
            place = f"{host}:{port.get('$')}"
            if _PLACE.fullmatch(place):
                return f"{scheme}://{place}"
    return ""


def _several(value: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """Old Eurekas write a list of one as the one."""
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield value


def _path(*names: str) -> str:
    return "/".join(("apps", *(quote(name, safe="") for name in names)))


def _checked(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"registry {url!r}: give http(s)://host:8761/eureka")
    if "@" in parts.netloc:
        raise ConfigurationError(
            "a registry's URL holds a user or password: use WAYBILL_REGISTRY_USER and "
            "REGISTRY_PASSWORD (or REGISTRY_PASSWORD_FILE)"
        )
    return url.strip().rstrip("/")
