"""Threads on every core, for work that releases Python's global interpreter lock, such as decoding and encoding."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_order(make: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """Applies `make` to each item in threads and yields the results in order; at most three items for each core are in
    progress or waiting."""
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
    """Lists of `size` items each; the last may be shorter."""
    return iter(lambda: list(islice(items, size)), [])
