"""What workers of a run share is made once, and outlives whoever uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.sharing import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_it_is_made_once_and_ended_behind_its_last_user(tmp_path: Path) -> None:
    """The maker waits for the others; who comes after its end makes another."""
    made, ended = list[str](), list[str]()

    @contextmanager
    def make() -> Iterator[str]:
        made.append(f"number {len(made)}")
        yield made[-1]
        ended.append("ended")

    with ThreadPoolExecutor(1) as pool:
        maker, user = ExitStack(), ExitStack()
        assert maker.enter_context(shared(tmp_path / "it", make)) == "number 0"
        assert user.enter_context(shared(tmp_path / "it", make)) == "number 0"
        ending = pool.submit(maker.close)
        while (tmp_path / "it").exists():
            assert not ending.done()
        assert not ended
        user.close()
        ending.result(timeout=10)
    assert ended == ["ended"]
    with shared(tmp_path / "it", make) as another:
        assert another == "number 1"
