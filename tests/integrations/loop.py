"""Tests that are coroutines: each runs in its own event loop and must not leave a task behind."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

__all__ = ["in_a_loop"]

P = ParamSpec("P")

_LIMIT = 60  # seconds, after which a test counts as hanging


def in_a_loop(
    test: Callable[P, Coroutine[Any, Any, None]],
    *,
    limit: float = _LIMIT,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Callable[P, None]:
    """Run *test* in an event loop; it fails if it hangs, or if a task is left at its end."""

    @functools.wraps(test)
    def run(*args: P.args, **options: P.kwargs) -> None:
        async def checked() -> None:
            async with asyncio.timeout(limit):
                await test(*args, **options)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"left behind: {left}"

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(checked())

    return run
