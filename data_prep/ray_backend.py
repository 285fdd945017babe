"""The engine for several machines: Ray.

It uses tasks, not Ray Data: one reader decides order, ids, splits and limits, and Ray Data has no source for a stream
that is read where the program runs. A custom source with one reading task gave equal results in 30 s instead of 10 s
(Ray 2.60, 2 CPUs, 300 items of 1 MB, 50 ms of work each). A window of tasks gives order, back-pressure and bounded
memory with the code that processes use.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from data_prep.parallel import Item, OrderedMap, Result, in_order
from tgvae.errors import UserError


@contextmanager
def cluster(workers: int) -> Iterator[OrderedMap]:
    """Use all CPUs of the Ray cluster at RAY_ADDRESS, or else `workers` CPUs of this machine; two items each at a time.

    Every machine needs the same packages, and the output folder under the same path. When a machine is lost, Ray runs
    its tasks again, and they write the same bytes.

    Raises:
        UserError: Ray is not installed, the cluster cannot be reached, or a task was lost again and again.
    """
    ray = _started(workers)
    cpus = int(ray.cluster_resources()["CPU"])

    def remote(function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        @ray.remote(num_cpus=1)
        def task(item: Item) -> Result:  # the function travels once to every worker, not with every item
            return function(item)

        return in_order(task.remote, result, items, 2 * cpus)

    def result(pending: Any) -> Any:
        try:
            return ray.get(pending)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise UserError(f"Ray lost a task: {error} Give its machines more memory, or fewer CPUs.") from error

    try:
        yield remote
    finally:
        ray.shutdown()


def _started(workers: int) -> Any:
    """Connect, and return the module ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        import ray

        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except ImportError as error:
        raise UserError("The engine ray needs the package ray: pip install tgvae[ray]") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"No Ray cluster at RAY_ADDRESS={address} ({error}); start one with `ray start`.") from error
    return ray
