"""The settings of the platform: environment variables, checked all at once before anything starts.

Ours begin with `WAYBILL_`; the documents' names (contracts 1.7) are taken as well. An unknown
`WAYBILL_…` is refused: a typo must not run with a default. Every name carries its unit.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from waybill.messaging.core.errors import ConfigurationError
from waybill.platform import own_databases

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = "WAYBILL_"
PORT_MAX: Final = 65_535
PORT_SPAN: Final = 10
"""Ports above the base that a platform uses."""

Seconds = Annotated[float, Field(gt=0, le=86_400 * 365, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]


def documented(name: str, *others: str) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    """Takes `WAYBILL_<NAME>` and, after it, the names that the documents use."""
    return AliasChoices(f"{PREFIX}{name.upper()}", *others)


class Settings(BaseSettings):
    """Immutable; `Settings.load()` reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,  # as compose files write ${NAME:-}
    )

    # Where it runs
    data_directory: Path = Path(".waybill")
    port_base: Annotated[int, Field(ge=1, le=PORT_MAX - PORT_SPAN)] = 8080
    host: str = "127.0.0.1"
    insecure: bool = False
    """Allows another address than loopback although there are no tokens (contracts C43)."""

    blueprint: str = ""
    """One of `waybill blueprints`; not set: that of the data, or choreography on new ones."""

    payment_step: bool = False
    """Runs the blueprint with the payment step that its document leaves open (reservation)."""

    outbox_mode: Literal["relay", "cdc"] = "relay"
    """On Kafka: our relay sends, or a connector does and it only watches (docs/library/cdc.md)."""

    audit_file: Path | None = None
    """What `waybill audit --prometheus` writes, for the order service's metrics (docs/audit.md).

    Not set: `audit.prom` in the data folder, if it is there.
    """

    # Orders
    order_deadline_seconds: Seconds = 900.0
    prices: Literal["client", "catalogue"] = "client"
    """Whose unit prices count: the client's, or those of `waybill prices` (else 409)."""

    # The payment simulator
    payment_success_rate: Share = Field(
        0.8,
        validation_alias=documented("payment_success_rate", "PAYMENT_SIMULATE_SUCCESSRATE"),
    )
    payment_force_outcome: Literal["", "success", "failure"] = Field(
        "",
        validation_alias=documented("payment_force_outcome", "PAYMENT_SIMULATE_FORCEOUTCOME"),
    )
    payment_delay_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        0.0,
        validation_alias=documented("payment_delay_seconds", "PAYMENT_SIMULATE_DELAYSECONDS"),
    )

    # Notifications by HTTP
    notify_url: str = Field("", validation_alias=documented("notify_url", "NOTIFY_URL"))
    """Whose POST /notify is called; not set: that of this platform's notification service."""
    notify_timeout_seconds: Annotated[float, Field(ge=0.05, le=20, allow_inf_nan=False)] = 4.0
    notify_retry_interval_seconds: Seconds = 60.0
    """Between the turns that try failed notifications again."""

    # Payment inside the request
    payment_url: str = Field("", validation_alias=documented("payment_url", "PAYMENT_SERVICE_URL"))
    """Of the payment service, where orders are paid inside the request; not set: beside us."""
    payment_wait_seconds: Annotated[float, Field(gt=0, le=30, allow_inf_nan=False)] = 3.0
    """How long such a request waits for its payment; then 202, and it is paid later."""

    # What is kept how long
    outbox_retention_days: Days = Field(
        7.0,
        validation_alias=documented("outbox_retention_days", "OUTBOX_CLEANUP_RETENTIONDAYS"),
    )
    outbox_cleanup_interval_milliseconds: Annotated[int, Field(ge=100, le=86_400_000)] = Field(
        3_600_000,
        validation_alias=documented(
            "outbox_cleanup_interval_milliseconds", "OUTBOX_CLEANUP_INTERVALMS"
        ),
    )
    outbox_partition_rows: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 1_000_000
    inbox_retention_days: Days = 30.0

    # Limits
    batch_size_max: Count = 500
    linger_seconds: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.05
    """So long an event that nobody waits for stays for others, to be handled with them."""
    dead_letters_max: Count = 100
    dead_letters_window_seconds: Seconds = 600.0
    intake_queue_size_max: Count = 2_000
    intake_orders_per_second_max: Rate | None = None
    """New orders beyond that get 503 at once; not set: as many as PostgreSQL can take."""
    intake_unread_rows_max: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000_000
    """New orders get 503 while more outbox rows than that were read by no service yet."""
    disk_used_share_max: Share = 0.9
    """Whatever writes gets 503 while the data directory's file system is fuller than that."""
    http_in_flight_max: Count = 4_096
    database_connections_max: Annotated[int, Field(ge=2, le=50)] = 8
    """Of one service's pool; the embedded server takes 100 altogether."""
    drain_seconds_max: Annotated[float, Field(gt=0, le=600)] = 20.0

    # Who may call (docs/edge.md)
    edge: bool | None = None
    """Accounts, gateway and tokens; not set: as the blueprint has it (checkout: yes)."""
    accounts: bool | None = None
    """The accounts service, on port base + 6: its tokens are asked for. Not set: as `edge`."""
    gateway: bool | None = None
    """The gateway, on the port base itself. Not set: as `edge`."""
    tokens_issuer: str = ""
    """Whose tokens are taken; not set: those of our accounts, or nobody is asked for one."""
    tokens_audience: str = "waybill"
    tokens_algorithm: Literal["ES256", "ES384", "EdDSA", "RS256", "PS256"] = "ES256"
    tokens_type: str = "at+jwt"
    tokens_roles_claim: str = "roles"
    tokens_jwks_url: str = ""
    """Where the issuer's keys are; not set: where its own configuration says."""
    tokens_ca_file: str = ""
    tokens_lifetime_seconds_max: Seconds = 900.0
    tokens_leeway_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 30.0
    trusted_proxies: str = ""
    """Addresses or networks (commas) whose X-Forwarded-For counts."""
    gateway_subject_requests_per_minute: Count = 600
    gateway_address_requests_per_minute: Count = 3_000
    gateway_cors_origins: str = ""
    """Origins (commas) whose pages may call from a browser."""

    # Where services are, docs/edge.md
    registry: bool | None = None
    """Our registry runs too, and the gateway asks it. Not set: as `edge`, within this machine."""
    registry_port: Annotated[int, Field(ge=0, le=PORT_MAX)] = 0
    """0: port base + 8."""
    registry_urls: str = ""
    """Registries (commas) that speak Eureka's protocol; not set: ours, where it is on."""
    registry_host: str = ""
    """The address that others reach this process by; not set: the one it listens on."""
    registry_user: str = "waybill"
    registry_heartbeat_seconds: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    registry_lease_seconds: Annotated[float, Field(ge=1, le=3_600)] = 15.0
    """So long after its last heartbeat an instance is gone."""
    registry_drain_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    """So long an instance that said goodbye still serves those who have not heard it."""
    discovery: Literal["auto", "static", "eureka", "dns"] = "auto"
    """How the gateway finds services; auto: by a registry if there is one, else by the list."""
    discovery_refresh_seconds: Annotated[float, Field(ge=0.1, le=300)] = 2.0
    discovery_keep_seconds: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """So long the last instances of a service are kept when nobody is found."""
    discovery_addresses: str = ""
    """service=http://host:port (commas); a service that is not named is on this machine."""
    discovery_dns_name: str = "_{service}._tcp.waybill.internal"
    """The SRV records of a service."""
    discovery_dns_server: str = ""
    """host:port; not set: the machine's own."""

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, JSON elsewhere."""

    @field_validator("payment_force_outcome", "log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("data_directory", mode="after")
    @classmethod
    def _named(cls, value: Path) -> Path:
        if not str(value).strip() or "\0" in str(value):
            raise ValueError("must name a directory")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.inbox_retention_days <= self.outbox_retention_days:
            raise ValueError(
                f"{PREFIX}INBOX_RETENTION_DAYS must exceed {PREFIX}OUTBOX_RETENTION_DAYS: "
                "else a message still in an outbox could be applied twice"
            )
        accounts = self.edge if self.accounts is None else self.accounts
        tokens = bool(self.tokens_issuer) or accounts
        if not self.insecure and not tokens and not is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST {self.host} can be reached from other machines, and nobody is "
                f"asked for a token: use 127.0.0.1, set {PREFIX}TOKENS_ISSUER or "
                f"{PREFIX}EDGE=true, or say --insecure ({PREFIX}INSECURE=true)"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the caller gives wins over the environment; no files."""
        del settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings

    @classmethod
    def load(cls, **given: object) -> Settings:
        """From the environment; `given` wins (options of the command line; None means not given).

        Raises ConfigurationError with every mistake in one line.
        """
        mistakes = _unknown(os.environ)
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        try:
            settings = cls(**chosen)
        except ValidationError as error:
            mistakes += [_mistake(cls, dict(found)) for found in error.errors()]
        if mistakes:
            raise ConfigurationError("wrong settings: " + "; ".join(mistakes))
        return settings

    def shown(self) -> dict[str, str]:
        """The effective settings by their environment names. None of them is a secret."""
        return {
            variable_of(name): str(getattr(self, name)) for name in sorted(type(self).model_fields)
        }


def variable_of(name: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{name.upper()}"


def reached_at(host: str) -> str:
    """The host of a URL by which this machine reaches what listens at `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - asked from here
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _unknown(environment: Iterable[str]) -> list[str]:
    known = [variable_of(name) for name in Settings.model_fields]
    known += own_databases.variables()
    mistakes = []
    for variable in sorted(environment):
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.0)
            mistakes.append(f"{variable} is unknown (did you mean {near[0]}?)")
    return mistakes


def _mistake(model: type[Settings], found: Mapping[str, Any]) -> str:
    message = str(found["msg"]).removeprefix("Value error, ")
    if not found["loc"]:
        return message
    variable = _set_variable(model, str(found["loc"][0]))
    shown = repr(found["input"])
    return f"{variable}={shown if len(shown) <= 60 else shown[:57] + '…'}: {message}"  # noqa: PLR2004


def _set_variable(model: type[Settings], place: str) -> str:
    """The variable that was set: a documented name is told as the user wrote it."""
    given = {name.upper() for name, text in os.environ.items() if text}
    for field in model.model_fields.values():
        alias = field.validation_alias
        names = [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else []
        if place in names:
            return next((name for name in names if name in given), place)
    return variable_of(place) if place in model.model_fields else place


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
