"""The pipeline of one node."""

from dataclasses import dataclass, field

from kedro.validation.type_extractor import TypeExtractor

from pipelines.stages.stage import stage
from unlabeled.config import Augmentation, Compare, Evaluation


@dataclass(frozen=True)
class Both:
    first: int
    evaluation: Evaluation
    extra: int = 7
    more: list = field(default_factory=list)


def add(both: Both, third, config: Compare, where):
    return {"sum": both.first + third + both.extra, "wired": (both.evaluation, config, where)}


def test_a_stage_is_one_node_wired_by_the_names_and_types_of_its_arguments():
    (node,) = stage("mine", add, ("sum", "wired"), where="to").nodes
    assert (node.name, node.tags) == ("mine", {"mine"})
    assert set(node.inputs) == {"first", "params:evaluation", "third", "params:compare", "to"}
    made = node.run({"first": 1, "params:evaluation": 2, "third": 3, "params:compare": 4, "to": 5})
    assert list(made.items()) == [("sum", 11), ("wired", (2, 4, 5))]


def test_kedro_sees_the_types_of_parameters_in_a_record():
    pipeline = stage("mine", add, ("sum", "wired"), where="to")
    found = TypeExtractor({"mine": pipeline}).extract_types_from_pipelines()
    assert {name: kind for name, kind in found.items()} == {"evaluation": Evaluation, "compare": Compare}


def test_what_a_function_returns_may_be_one_data_set():
    (node,) = stage("mine", lambda first: first + 1, "second").nodes
    assert node.run({"first": 1}) == {"second": 2}


def test_parameters_are_those_of_the_type_whatever_the_argument_is_called():
    def cut(recipe: Augmentation):
        return recipe

    assert stage("mine", cut, "crops").nodes[0].inputs == ["params:augmentation"]
