"""Makes a stage: one Kedro node with the stage's name, wired by the names and types of its function's arguments."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

from kedro.pipeline import Pipeline, node

from unlabeled.config import Block
from unlabeled.runtime.progress import waiting


def stage(
    name: str,
    function: Callable,
    outputs: str | Iterable[str],
    *,
    spinner: bool = True,
    known: dict[str, Any] | None = None,
    **others: str,
) -> Pipeline:
    """A pipeline of one node, whose name and tag are the stage's name.

    An argument receives the dataset of its name or, if its type is a `Block`, the parameters of that block. An argument
    whose type is a dataclass receives an instance; its fields without a default are wired like arguments.

    Args:
        outputs: The dataset that the function returns, or the datasets that it returns in a dict, saved in this order.
        spinner: Whether the terminal shows a spinner; false where other processes write to the terminal.
        known: Arguments and fields that are no datasets, such as the name of the method.
        others: The datasets of arguments with another name than their dataset.
    """
    hints = get_type_hints(function)
    arguments = {each: hints.get(each, Any) for each in signature(function).parameters}
    wired = {each: kind for each, kind in _leaves(arguments).items() if each not in (known or {})}
    given = {each: others.get(each) or _source(each, kind) for each, kind in wired.items()}
    made = outputs if isinstance(outputs, str) else {each: each for each in outputs}
    run = _flat(function, arguments, wired, known or {}, name if spinner else None)
    return Pipeline([node(run, inputs=given, outputs=made, name=name, tags=name)])


def _flat(
    function: Callable,
    arguments: dict[str, Any],
    wired: dict[str, Any],
    known: dict[str, Any],
    waited_for: str | None,
) -> Callable:
    """The function with the wired arguments and fields alone, which is what Kedro calls."""

    @wraps(function)
    def run(**given: Any) -> Any:
        with waiting(waited_for) if waited_for else nullcontext():
            return function(**{name: _built(name, kind, known | given) for name, kind in arguments.items()})

    run.__annotations__ = wired
    parameters = [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in wired.items()]
    run.__signature__ = Signature(parameters)  # ty: ignore[missing-attribute]
    return run


def _leaves(arguments: dict[str, Any]) -> dict[str, Any]:
    """Names and types of arguments, where a dataclass is replaced by its fields."""
    leaves = {}
    for name, kind in arguments.items():
        leaves |= _leaves(_fields(kind)) if is_dataclass(kind) else {name: kind}
    return leaves


def _fields(record: Any) -> dict[str, Any]:
    """Names and types of a dataclass's fields without a default."""
    hints = get_type_hints(record)
    wanted = (each for each in fields(record) if each.default is MISSING and each.default_factory is MISSING)
    return {each.name: hints[each.name] for each in wanted}


def _built(name: str, kind: Any, given: dict[str, Any]) -> Any:
    if not is_dataclass(kind):
        return given[name]
    return kind(**{each: _built(each, of, given) for each, of in _fields(kind).items()})


def _source(name: str, kind: Any) -> str:
    return f"params:{kind.block}" if isinstance(kind, type) and issubclass(kind, Block) else name
