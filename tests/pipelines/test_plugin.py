"""A method from a package of its own: one file, one line, one block, one test."""

import hashlib
import sys

METHOD = '''
from torch import nn

from unlabeled.method import Method


class Whitened(Method):
    """Pulls views together and keeps each feature's variance."""

    def __init__(self, encoder: nn.Module, *, strength: float = 1.0):
        super().__init__()
        self.encoder, self.strength = encoder, strength

    def forward(self, batch):
        first, second = self.encoder(batch).float().chunk(2)
        return self.strength * (first - second).square().mean() + (1 - first.std(0)).relu().mean()
'''
CODE = hashlib.sha256(METHOD.encode()).hexdigest()[:16]
POINT = "[unlabeled.methods]\nwhitened = other_package:Whitened\n"
BLOCK = "whitened:\n  pretraining:\n    method:\n      strength: 2.0\n"


def test_a_method_of_another_package_is_trained_evaluated_and_registered(project, tmp_path):
    package = tmp_path / "site"
    (package / "other_package-1.0.dist-info").mkdir(parents=True)
    (package / "other_package.py").write_text(METHOD)
    (package / "other_package-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n"
    )
    (package / "other_package-1.0.dist-info/entry_points.txt").write_text(POINT)
    (project.path / "conf/base/parameters_whitened.yml").write_text(BLOCK)
    result = project.shell("kedro", "run", "--pipeline=whitened", PYTHONPATH=str(package))
    assert result.returncode == 0, result.stderr
    assert project.json("data/06_models/whitened/version.json")["name"] == "unlabeled-digits"
    assert project.json("data/08_reporting/whitened/metrics.json")["few_label"]["1"]["mean"] > 0
    assert "whitened on digits" in (project.path / "data/08_reporting/whitened/report.html").read_text()
    (run,) = project.runs()
    assert run.data.params["pretraining.method.strength"] == "2.0" and run.data.tags["method"] == "whitened"
    version = project.client().get_model_version("unlabeled-digits", "1")
    assert run.data.tags["plug_in"] == version.tags["plug_in"] == f"other-package 1.0, code {CODE}"
    refused = project.shell(
        "kedro", "run", "--pipeline=whitened", "--params=whitened.pretraining.method.force=1", PYTHONPATH=str(package)
    )
    assert refused.returncode == 1
    assert "pretraining.method.force is not a constant of whitened: choose from strength" in " ".join(
        refused.stderr.split()
    )


def test_setting_up_again_leaves_it_installed(project):
    steps = project.shell("make", "-n", "-B", "-C", str(project.root), "setup").stdout
    assert "uv pip install" in steps and "requirements.lock" in steps and "pip sync" not in steps


def test_without_its_package_it_is_not_there(project):
    result = project.shell(sys.executable, "-m", "kedro", "registry", "list")
    assert "whitened" not in result.stdout and "simclr" in result.stdout
