def test_the_make_that_starts_the_tests_does_not_reach_into_their_projects(project, monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=--nosuch")
    monkeypatch.setenv("ARGS", "--nosuch")
    (project.path / "Makefile").write_text("told:\n\t@echo [$(ARGS)]\n")
    assert project.shell("make", "told").stdout == "[]\n"


def test_variables_that_change_a_run_do_not_reach_it(project, monkeypatch):
    for name in ("UNLABELED_QUIET", "KEDRO_ENV", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "GIT_DIR", "GITHUB_OUTPUT"):
        monkeypatch.setenv(name, "leak")
    assert "leak" not in project.environment().values()
