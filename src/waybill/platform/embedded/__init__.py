"""A real PostgreSQL on a data directory of ours, with nothing installed (protocol E1, E2).

It listens on a private unix socket only, asks everybody for a password, survives kill -9 of
anything, and a second platform on the same data is refused.
"""

from waybill.platform.embedded.secrets import Secrets
from waybill.platform.embedded.server import EmbeddedPostgres, borrowed

__all__ = ["EmbeddedPostgres", "Secrets", "borrowed"]
