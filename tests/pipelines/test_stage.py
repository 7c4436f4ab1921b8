"""The pipeline of one node."""

from pipelines.stages.stage import stage


def both(first, second, config, where):
    return {"sum": first + second, "wired": (config, where)}


def test_a_stage_is_one_node_wired_by_the_names_of_its_arguments():
    (node,) = stage("mine", both, ("first", "params:second"), ("sum", "wired"), config="params:mine", where="to").nodes
    assert (node.name, node.tags) == ("mine", {"mine"})
    made = node.run({"first": 1, "params:second": 2, "params:mine": 3, "to": 4})
    assert list(made.items()) == [("sum", 3), ("wired", (3, 4))]


def test_what_a_function_returns_may_be_one_data_set():
    (node,) = stage("mine", lambda first: first + 1, ["first"], "second").nodes
    assert node.run({"first": 1}) == {"second": 2}
