"""How many statements this process has sent to PostgreSQL, COMMIT too: round trips.

Of the whole process, as its CPU and its memory are; written by the event loop's thread only.
"""

from __future__ import annotations

sent = 0
