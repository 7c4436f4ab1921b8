"""A stage of the chain: one node of Kedro, under the stage's name, wired by the names of its arguments."""

from collections.abc import Callable, Iterable

from kedro.pipeline import Pipeline, node


def stage(
    name: str, function: Callable, inputs: Iterable[str], outputs: str | Iterable[str], **others: str
) -> Pipeline:
    """The pipeline of one node, which has the stage's name for a tag as well.

    Args:
        inputs: Data sets, and blocks of parameters as `params:…`, for the arguments of their names.
        outputs: The data set that the function returns; or those that it returns in a dict, saved in this order.
        others: What other arguments are given.
    """
    given = {each.removeprefix("params:"): each for each in inputs} | others
    made = outputs if isinstance(outputs, str) else {each: each for each in outputs}
    return Pipeline([node(function, inputs=given, outputs=made, name=name, tags=name)])
