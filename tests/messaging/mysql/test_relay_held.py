"""Protocol L4's first test over MariaDB, in `make test-faults`: it is not steady.

About two runs in a hundred on a busy machine find the record behind the held one in the log. Why
is not known yet: the same test over PostgreSQL was never seen to fail.
"""

from __future__ import annotations

import pytest
from tests.messaging.mysql.test_relay import world
from tests.messaging.postgres.test_relay import (
    test_l4_a_record_that_can_never_be_sent_is_held_with_its_key,
)

__all__ = ["test_l4_a_record_that_can_never_be_sent_is_held_with_its_key", "world"]

pytestmark = pytest.mark.long
