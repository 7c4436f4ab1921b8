"""GitHub's workflows of this repository, as far as they can be read without GitHub."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
ACTIONS = {"actions/checkout", "actions/setup-python", "actions/upload-artifact"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_a_trigger_few_rights_and_known_actions(name):
    workflow = WORKFLOWS[name]
    assert workflow[True] and workflow["concurrency"]  # YAML reads `on` so
    assert workflow["permissions"]["contents"] == ("write" if name == "retrain" else "read")
    for job in workflow["jobs"].values():
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])
        assert {step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step} <= ACTIONS


@pytest.mark.parametrize("name", WORKFLOWS)
def test_an_action_is_pinned_by_its_commit_with_the_version_beside_it(name):
    uses = re.findall(r"uses: *(.+)", (ROOT / f".github/workflows/{name}.yml").read_text())
    assert len(uses) == sum("uses" in step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"])
    assert uses and not [each for each in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", each)]


def test_an_action_has_one_version_in_all_workflows():
    steps = [step for each in WORKFLOWS.values() for job in each["jobs"].values() for step in job["steps"]]
    assert len({step["uses"] for step in steps if "uses" in step}) == len(ACTIONS)


def test_ci_tests_every_python_from_the_oldest_that_is_allowed_and_reports_coverage_once():
    matrix = WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    versions = [tuple(map(int, each.split("."))) for each in matrix["python"]]
    assert oldest == f">={matrix['python'][0]}"
    assert versions == [(3, minor) for minor in range(versions[0][1], versions[-1][1] + 1)]
    assert len([each for each in matrix["include"] if "--cov" in each["coverage"]]) == 1


def test_the_hooks_of_pre_commit_are_local_and_run_from_the_environment_of_the_lock():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook for each in repositories for hook in each["hooks"]]
    assert {each["repo"] for each in repositories} == {"local"}
    assert {hook["language"] for hook in hooks} == {"system"}
    assert not [hook for hook in hooks if not hook["entry"].startswith(".venv/bin/")]


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
