"""What a command prints, and what it keeps to itself."""


def test_a_quiet_run_prints_nothing_nor_do_the_processes_that_it_starts(project):
    result = project.shell("kedro", "run", "--quiet", "--pipeline=compare", "--params=compare.methods=pca")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "" and result.stderr == ""
    assert project.json("data/08_reporting/pca/metrics.json")["linear_probe_accuracy"] > 0.5


def test_a_quiet_run_still_says_what_went_wrong(project):
    result = project.shell("kedro", "run", "--quiet", "--tags=pretraining")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("Error: ") and "run the stages before this one" in " ".join(result.stderr.split())
