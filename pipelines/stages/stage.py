"""A stage of the chain: one node of Kedro, under the stage's name, wired by the names of its arguments."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import Any

from kedro.pipeline import Pipeline, node

from unlabeled.runtime.progress import waiting


def stage(
    name: str,
    function: Callable,
    inputs: Iterable[str],
    outputs: str | Iterable[str],
    *,
    spinner: bool = True,
    **others: str,
) -> Pipeline:
    """The pipeline of one node, which has the stage's name for a tag as well.

    Args:
        inputs: Data sets, and blocks of parameters as `params:…`, for the arguments of their names.
        outputs: The data set that the function returns; or those that it returns in a dict, saved in this order.
        spinner: Whether one turns while the node runs; not where other processes write to the terminal.
        others: What other arguments are given.
    """
    given = {each.removeprefix("params:"): each for each in inputs} | others
    made = outputs if isinstance(outputs, str) else {each: each for each in outputs}
    function = _with_spinner(name, function) if spinner else function
    return Pipeline([node(function, inputs=given, outputs=made, name=name, tags=name)])


def _with_spinner(name: str, function: Callable) -> Callable:
    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        with waiting(name):
            return function(*arguments, **named)

    run.__signature__ = signature(function)  # Kedro looks no further than the outermost function
    return run
