"""The variants of benchmarks/gpu_loop.py, for two steps on the CPU, and its refusal of a machine without CUDA."""

import sys

import numpy as np
import pytest
import torch

from benchmarks import gpu_loop
from benchmarks.gpu_loop import TwoSteps, WideTarget, report, variants
from unlabeled.images.encoder import Normalisation
from unlabeled.images.views import Views

NORMALISATION = Normalisation((0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def contenders():
    """All variants after two rounds of two steps. aot_eager captures the graph and needs no compiler, which would take
    a minute."""
    images = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)
    all_of_them = variants("small_resnet", images, NORMALISATION, 8, torch.device("cpu"), backend="aot_eager")
    for contender in all_of_them.values():
        assert contender.seconds() > 0 and contender.seconds() > 0
    return all_of_them


@pytest.mark.parametrize("name", ["compiled", "CUDA graphs", "own stream"])
def test_a_variant_trains_as_todays_loop_does(contenders, name):
    assert contenders[name].losses == pytest.approx(contenders["today"].losses, rel=1e-2)
    ours, today = (contenders[each].method.state_dict() for each in (name, "today"))
    for key, weight in today.items():
        torch.testing.assert_close(ours[key], weight, rtol=0.05, atol=0.02)


def test_views_on_their_own_stream_are_the_same_views(contenders):
    ahead, plain = contenders["own stream"].supply, contenders["today"].supply
    for step in (0, 1, 1, 5, 0):
        torch.testing.assert_close(ahead.batch(step), plain.batch(step), rtol=0, atol=0)


def test_a_wide_target_is_a_step_old_at_every_second_step(contenders):
    views: Views = contenders["today"].supply
    method, supply = contenders["wide target"].method, TwoSteps(views)
    assert isinstance(method, WideTarget)
    first, both = supply.batch(0)
    second, none = supply.batch(1)
    assert len(none) == 0 and torch.equal(both, torch.cat([first, second]))
    method.train()
    expected = method.target(both).float().chunk(2)
    method(first, both)
    torch.testing.assert_close(method.targets, [expected[1]])
    method(second, none)
    assert method.targets == []


def test_the_report_has_images_per_second_of_each_beside_todays(capsys):
    report({"today": [10.0, 10.0, 20.0], "own stream": [11.0, 12.0, 20.0]}, {"encoder": "resnet18"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "own stream          12 images/s, 1.100 of today's"
    assert '"own stream": {"images_per_second": 12.0, "over_today": 1.1}' in lines[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_cuda_is_told_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_loop.py"])
    with pytest.raises(
        SystemExit, match="gpu_loop.py needs a GPU of CUDA, and torch finds none on this machine"
    ) as end:
        gpu_loop.main()
    assert isinstance(end.value.code, str)  # which Python prints, with the exit code 1
