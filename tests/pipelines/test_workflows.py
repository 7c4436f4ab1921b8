"""GitHub's workflows of this repository, as far as they can be read without GitHub."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
ACTIONS = {"actions/checkout@v6", "actions/setup-python@v6", "actions/upload-artifact@v6"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_a_trigger_few_rights_and_known_actions(name):
    workflow = WORKFLOWS[name]
    assert workflow[True] and workflow["concurrency"]  # YAML reads `on` so
    assert workflow["permissions"]["contents"] == ("write" if name == "retrain" else "read")
    for job in workflow["jobs"].values():
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        assert {step["uses"] for step in job["steps"] if "uses" in step} <= ACTIONS


def test_the_audit_is_of_every_lock_on_a_schedule_and_where_one_changes():
    workflow = WORKFLOWS["audit"]
    job, locks = workflow["jobs"]["audit"], sorted(path.name for path in ROOT.glob("*.lock"))
    assert sorted(job["strategy"]["matrix"]["lock"]) == [name for name in locks if name != "dvc.lock"]
    assert {"schedule", "workflow_dispatch"} <= workflow[True].keys()
    assert set(job["strategy"]["matrix"]["lock"]) <= set(workflow[True]["push"]["paths"])
    install, audit = (step["run"] for step in job["steps"] if "run" in step)
    assert re.search(r"pip-audit==\d+\.\d+\.\d+", install)
    assert "--requirement ${{ matrix.lock }}" in audit and "--require-hashes" in audit


def test_what_the_audit_lets_pass_is_written_down():
    (command,) = (
        step["run"] for step in WORKFLOWS["audit"]["jobs"]["audit"]["steps"] if "pip_audit" in step.get("run", "")
    )
    ignored = re.findall(r"--ignore-vuln (\S+)", command)
    decisions = (ROOT / "docs/decisions.md").read_text()
    assert ignored and not [each for each in ignored if each not in decisions]
