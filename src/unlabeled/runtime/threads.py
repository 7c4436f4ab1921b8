"""Work on every core, for what lets go of Python's lock: decoding and encoding."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(make: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """What `make` makes of each, in their order; at most three for each core are under way or wait to be taken."""
    workers = os.cpu_count() or 1
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for each in given:
            waiting.append(pool.submit(make, each))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batches_of(items: Iterator[Given], size: int) -> Iterator[list[Given]]:
    """Lists of `size` items, but for the last."""
    return iter(lambda: list(islice(items, size)), [])
