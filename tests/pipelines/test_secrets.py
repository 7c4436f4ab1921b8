"""Thirty planted secrets, one registration, and everything that has left the machine: none of them is in it."""

import subprocess

import pandas as pd
import pytest

NAME = "unlabeled-digits"
CORE = "q7Zt2Lm9{:02d}Xv4Kp8Rw3Ny6"
"""No word, and another for each secret. Tokens are put together here, so that no scanner takes them for leaks."""
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
LEFT = ("mlflow.db", "mlflow.db-wal", "mlartifacts", "mlruns", "data")
"""Where a run leaves what MLflow, DVC and people get."""

UNTRACKED = (
    "stages/id_rsa",
    "conf/base/server.pem",
    "conf/photos/token",
    ".netrc",
    "conf/secrets.yml",
    "conf/base/gcp-service-account.yml",
    "conf/base/AWS_Credentials.yml",
    "conf/base/prod-token.yml",
    "conf/local/credentials.yml",
    ".dvc/config.local",
)
STAGED = ("stages/byol/deploy.key", ".env.production", "conf/local/notes.yml", "conf/base/my.credentials.yaml")
CHANGED = (".env", "conf/local/old.yml", ".dvc/config", "conf/base/Secrets.yml")
VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": "{}",
    "MLFLOW_TRACKING_PASSWORD": "{}",
    "HTTPS_PROXY": "http://user:{}@127.0.0.1:9",
    "DATABASE_URL": "postgresql://user:{}@127.0.0.1:9/x",
}
PARAMETERS = "conf/base/parameters.yml"


def secrets():
    """All thirty, by where they are planted."""
    places = [*UNTRACKED, *STAGED, *CHANGED, *VARIABLES, "git remote", *REFUSED]
    return {place: CORE.format(number) for number, place in enumerate(places)}


def append(project, name, text):
    path = project.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.exists() else "") + text)


def aws(project, secret):
    append(project, PARAMETERS, f"# {'AK' + 'IA'}{secret[:16].upper()} and {secret}, password: '{secret}'\n")


def github(project, secret):
    append(project, PARAMETERS, f"\npublishing: {{token: {'gh' + 'p_'}{secret}AbCdEf012345}}\n")


def slack(project, secret):
    append(project, "conf/base/hooks.yml", f"slack: {'xox' + 'b-'}123456789012-123456789012-{secret}\n")


def address(project, secret):
    append(project, "conf/base/mlflow.yml", f"# postgresql://mlflow:{secret}@db.internal/mlflow\n")


def gone(project, secret):
    append(project, "conf/base/old.yml", f"password: {secret}\nother: 1\n")
    project.commit("a mistake")
    (project.path / "conf/base/old.yml").write_text("other: 1\n")


def local(project, secret):
    append(project, "conf/local/parameters.yml", f"publishing: {{password: {secret}}}\n")


REFUSED = {
    "in a comment": (aws, f"{PARAMETERS}, line "),
    "as a parameter": (github, "publishing.token"),
    "in a new file": (slack, "conf/base/hooks.yml, line 1"),
    "in an address": (address, "conf/base/mlflow.yml, line "),
    "in a line that is gone": (gone, "conf/base/old.yml, line 1 (removed)"),
    "in a parameter of conf/local": (local, "the parameter publishing.password"),
    "--params": ("--params=registration.model_name=" + "gh" + "p_{}AbCdEf012345", "registration.model_name"),
}
"""What stops the run: how it is planted, by a function or an option, and what the sentence names."""


def found_in(project, wanted, *outputs):
    """Which of the secrets are in what a run has left."""
    contents = [output.encode() for output in outputs]
    for place in LEFT:
        path = project.path / place
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                contents.append(file.read_bytes())
            if file.suffix == ".parquet":
                contents.append(pd.read_parquet(file).to_csv().encode())
    return [place for place, secret in wanted.items() if any(secret.encode() in content for content in contents)]


@pytest.fixture
def planted(project):
    wanted = secrets()
    for name in (*STAGED, *CHANGED):
        append(project, name, "nothing: yet\n" if name != ".dvc/config" else "")
    subprocess.run(["git", "add", "-f", *CHANGED], cwd=project.path, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "before"], cwd=project.path, check=True)
    for name in (*UNTRACKED, *STAGED, *CHANGED):
        text = f"password: {wanted[name]}\n"
        if name.startswith(".dvc"):
            text = f"['remote \"store\"']\n    url = s3://bucket\n    secret_access_key = {wanted[name]}\n"
        append(project, name, text)
    subprocess.run(["git", "add", "-f", *STAGED], cwd=project.path, check=True)
    remote = f"https://me:{wanted['git remote']}@example.invalid/x.git"
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=project.path, check=True)
    return project


@pytest.mark.parametrize("where", REFUSED)
def test_a_secret_in_what_a_run_would_record_stops_it_before_anything_has_left(project, where):
    plant, named = REFUSED[where]
    secret = secrets()[where]
    options = [plant.format(secret)] if isinstance(plant, str) else []
    if not options:
        plant(project, secret)
    result = project.kedro("--pipeline=byol", *options)
    said = " ".join(result.output.split())
    assert result.exit_code == 1 and named in said and "pragma: allowlist secret" in said, said
    assert found_in(project, {where: secret}, result.output) == []
    assert not project.client().search_registered_models() and "Traceback" not in said


def test_none_of_thirty_secrets_leaves_the_machine(planted):
    wanted = secrets()
    assert len(wanted) == 30
    variables = {name: text.format(wanted[name]) for name, text in VARIABLES.items()}
    append(planted, PARAMETERS, "# a change of the user's\n")
    result = planted.shell("kedro", "run", "--pipeline=byol", **variables)
    assert result.returncode == 0, result.stdout + result.stderr
    assert found_in(planted, {"the change": "# a change of the user's"}) == ["the change"]  # the scan does look
    assert found_in(planted, wanted, result.stdout, result.stderr) == []
    lacking = planted.client().get_model_version(NAME, "1").tags["record_lacks"]
    for name in {*STAGED, *CHANGED} - {".dvc/config"}:  # git knows them, so that their absence is said
        assert name in lacking and name in " ".join(f"{result.stdout}{result.stderr}".split())
