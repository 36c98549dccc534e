"""A Navai backend on Ray Serve: replicas that share idempotency keys, and a function that runs as a task.

In a folder with this file, and with src/ai/functions-modules for other functions:

    pip install 'navai-client[server,redis]' 'ray[serve]'
    NAVAI_STORE_URL=redis://... NAVAI_ACCESS_TOKEN=... OPENAI_API_KEY=... serve run ray_serve:app
"""

import os
from collections.abc import Callable
from typing import Any

import ray
from ray import serve

from navai_client.server import NavaiBackend


class RayTasks:
    """Runs each call of a function as a Ray task, anywhere in the cluster, and at most once."""

    def __init__(self, **options: Any) -> None:
        """Run tasks with *options* of Ray, such as ``num_cpus`` or ``num_gpus``."""
        self._options = {
            **options,
            "max_retries": 0,
        }  # else Ray runs a task up to 4 times when its process dies

    def submit(self, work: Callable[[], Any]) -> Any:
        """Start *work*, and return what can be awaited."""
        return ray.remote(**self._options)(run_task).remote(work)

    def cancel(self, submitted: Any) -> None:
        """End the task's process: code that computes would notice nothing less."""
        ray.cancel(submitted, force=True)


def run_task(work: Callable[[], Any]) -> Any:
    return work()


def largest_prime_factor(number: int) -> int:
    """Return the largest prime factor of a number."""
    factor = 2
    while factor * factor <= number:
        number, factor = (number // factor, factor) if number % factor == 0 else (number, factor + 1)
    return number


def make_backend() -> NavaiBackend:
    """Make the backend of one replica. Other settings come from the environment, as everywhere."""
    backend = NavaiBackend(
        store_url=os.environ["NAVAI_STORE_URL"],  # without it, each replica would have keys of its own
        access_token=os.environ["NAVAI_ACCESS_TOKEN"],
        expose_errors=False,
    )
    backend.function(runs_in=RayTasks(num_cpus=1), timeout=60)(largest_prime_factor)
    return backend


app = serve.deployment(
    serve.ingress(make_backend)(),
    name="navai",
    ray_actor_options={"num_cpus": 0.5},  # a whole one each would leave none for tasks on a small machine
    max_ongoing_requests=200,
    autoscaling_config={"min_replicas": 2, "max_replicas": 10, "target_ongoing_requests": 50},
    graceful_shutdown_timeout_s=60,  # as long as the longest call
).bind()
