"""The client against the HTTP libraries used by hand: the same call, in turn, in one process."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import httpx2

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient

__all__ = ["Rates", "measure_async", "measure_sync"]

BODY = {"function_name": "f", "payload": {"location": "Bogotá"}}
Rates = dict[str, list[float]]


def measure_sync(url: str, *, calls: int, rounds: int) -> Rates:
    """Return calls per second of sequential sync calls, by contender and round."""
    endpoint = f"{url}/navai/functions/execute"
    rates: Rates = {}
    with NavaiBackendClient(url) as ours, httpx.Client() as old, httpx2.Client() as new:
        contenders: dict[str, Callable[[], Any]] = {
            "navai_client": lambda: ours.execute_function("f", BODY["payload"]),
            "httpx by hand": lambda: old.post(endpoint, json=BODY).json(),
            "httpx2 by hand": lambda: new.post(endpoint, json=BODY).json(),
        }
        for _ in range(rounds):
            for name, call in contenders.items():
                began = time.perf_counter()
                for _ in range(calls):
                    call()
                rates.setdefault(name, []).append(calls / (time.perf_counter() - began))
    return rates


async def measure_async(url: str, *, concurrency: int, calls: int, rounds: int) -> Rates:
    """Return calls per second of *concurrency* tasks, by contender and round."""
    endpoint = f"{url}/navai/functions/execute"
    rates: Rates = {}

    def by_hand(client: Any) -> Callable[[], Awaitable[Any]]:
        async def call() -> Any:
            return (await client.post(endpoint, json=BODY)).json()

        return call

    async def worker(call: Callable[[], Awaitable[Any]]) -> None:
        for _ in range(calls // concurrency):
            await call()

    async with AsyncNavaiBackendClient(url) as ours, httpx.AsyncClient() as old, httpx2.AsyncClient() as new:
        contenders: dict[str, Callable[[], Awaitable[Any]]] = {
            "navai_client": lambda: ours.execute_function("f", BODY["payload"]),
            "httpx by hand": by_hand(old),
            "httpx2 by hand": by_hand(new),
        }
        for _ in range(rounds):
            for name, call in contenders.items():
                began = time.perf_counter()
                await asyncio.gather(*(worker(call) for _ in range(concurrency)))
                rates.setdefault(name, []).append(calls / (time.perf_counter() - began))
    return rates


def versions() -> str:
    """Return what was measured."""
    libraries = (httpx, httpx2)
    return ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)


def row(what: str, rates: Rates) -> list[str]:
    """Return the lines of a Markdown table for *rates*, each against httpx used by hand."""
    base = statistics.median(rates["httpx by hand"])
    return [
        f"| {what} | {name} | {statistics.median(measured):,.0f} | {min(measured):,.0f}-{max(measured):,.0f} "
        f"| {statistics.median(measured) / base:.2f} |"
        for name, measured in rates.items()
    ]
