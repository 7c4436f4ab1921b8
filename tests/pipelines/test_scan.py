"""Secrets in what a run would send, and what is none."""

from pathlib import Path

import pytest

from pipelines.registry.scan import (
    CONFIGURATION,
    Line,
    check_no_secrets,
    find_secrets,
    lines_of_command,
    lines_of_file,
    lines_of_parameters,
    lines_of_patch,
    marked_lines,
)
from unlabeled.errors import UnlabeledError

ROOT = Path(__file__).resolve().parents[2]
R = "q7Zt2Lm9Xv4Kp8Rw3Ny6"
"""Twenty letters of no word. The secrets are put together here, so that no scanner takes this file for a leak."""
TOKENS = {
    "AWS key": "AKIA" + "IOSFODNN7ABCDEFG",
    "AWS secret": "key: " + "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYzzQWERTKEY",
    "GitHub": "gh" + f"p_{R}AbCdEfGh12345678",
    "GitHub, fine": "github" + f"_pat_{R}AbCd_{R}",
    "GitLab": "glpat" + f"-{R}",
    "Slack": "xox" + "b-123456789012-1234567890123-" + R,
    "Stripe": "sk" + f"_live_{R}AbCd",
    "OpenAI": "sk-" + f"proj-{R}AbCdEfGh",
    "Anthropic": "sk-" + f"ant-api03-{R}",
    "Hugging Face": "hf" + "_" + "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "Google": "AI" + "za" + f"{R}AbCdEfGh1234567",
    "JWT": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + f".{R}",
    "private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "Azure": "AccountKey=" + f"{R}{R}{R}{R}AbCdEf==",
    "address": "url: postgresql://u:" + "hunter2@db/mlflow",
    "query": "url: https://b.example/c?sig=" + R,
    "password": "password: " + "hunter2",
    "password of digits": "db_password: " + "83920174",
    "password with a dollar": "password: " + "$ecret-Pa55",
    "password in quotes": 'password = "' + 'hunter2"',
    "token by its key": "access_token: " + R,
    "no telling key": "endpoint: " + f"{R}AbCdEf/+xY",
    "hex": "thing: '" + "9f86d081884c7d659a2feaa0c55ad015'",
    "comment": "# the password: " + "hunter2",
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_secret_is_found_and_named_without_being_shown(kind):
    (found,) = find_secrets(lines_of_file("conf/base/parameters.yml", f"pretraining:\n  {TOKENS[kind]}\n"))
    assert found.where == "conf/base/parameters.yml, line 2" and found.kind
    with pytest.raises(UnlabeledError, match="parameters.yml, line 2: .*conf/local/credentials.yml.*pragma") as refused:
        check_no_secrets(lines_of_file("conf/base/parameters.yml", f"pretraining:\n  {TOKENS[kind]}\n"))
    assert TOKENS[kind].rpartition(" ")[2] not in str(refused.value)


@pytest.mark.parametrize("kind", ["AWS key", "GitHub", "Slack", "private key", "password in quotes", "address"])
def test_a_secret_in_code_is_found(kind):
    text = TOKENS[kind] if " = " in TOKENS[kind] else f"VALUE = '{TOKENS[kind]}'"
    assert find_secrets(lines_of_file("src/unlabeled/code.py", f"import os\n{text}\n"))[0].where.endswith("line 2")


def test_a_line_that_says_so_has_no_secret():
    line = f"{TOKENS['password']}  # pragma: allowlist secret"
    assert find_secrets(lines_of_file("conf/base/parameters.yml", line)) == []


def test_a_patch_is_scanned_for_what_is_new_what_is_gone_and_what_stands_beside():
    patch = f"""diff --git a/conf/base/x.yml b/conf/base/x.yml
index 1..2 100644
--- a/conf/base/x.yml
+++ b/conf/base/x.yml
@@ -7,3 +7,3 @@ block:
-  {TOKENS["password"]}
+  epochs: 3
   {TOKENS["address"]}
+  {TOKENS["token by its key"]}
diff --git a/src/gone.py b/src/gone.py
deleted file mode 100644
--- a/src/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-{TOKENS["password in quotes"]}
"""
    assert [each.where for each in find_secrets(lines_of_patch(patch))] == [
        "conf/base/x.yml, line 7 (removed)",
        "conf/base/x.yml, line 8",
        "conf/base/x.yml, line 9",
        "src/gone.py, line 0 (removed)",
    ]


def test_parameters_are_named_by_their_keys(tmp_path):
    given = {
        "byol": {"pretraining": {"api_key": R, "epochs": 3}},
        "list": [TOKENS["GitHub"]],
        "pin": {"password": 839201},
    }
    found = [each.where for each in find_secrets(lines_of_parameters(given))]
    assert found == ["the parameter byol.pretraining.api_key", "the parameter list", "the parameter pin.password"]
    (tmp_path / "conf/base").mkdir(parents=True)
    (tmp_path / "conf/base/parameters.yml").write_text(f"api_key: {R}  # pragma: allowlist secret\n")
    left = [each.where for each in find_secrets(lines_of_parameters(given, marked_lines(tmp_path)))]
    assert left == ["the parameter list", "the parameter pin.password"]


def test_a_command_is_scanned_word_by_word():
    command = f"kedro run --params=evaluation.password=hunter2,embed.path={TOKENS['address'].partition(' ')[2]}"
    assert [each.where for each in find_secrets(lines_of_command(command))] == ["the command"]


@pytest.mark.parametrize(
    "text",
    [
        "path: /home/jonathan/Documents/Projects2024/FundusBaselineV3/imagesOfRightEyes",
        "path: data/01_raw/ImageNet2012_Train_Subset_v17/photos",
        "group: '(patient\\d+)_[A-Z]{2}'",
        "  md5: d41d8cd98f00b204e9800998ecf8427e.dir",
        "--hash=sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "tokenizer: wordpiece",
        "password: ${oc.env:PASSWORD}",
        "url: postgresql://mlflow:***@db.internal/mlflow",
        "mask_token: '[MASK]'",
    ],
)
def test_paths_digests_and_names_are_no_secrets(text):
    assert find_secrets([Line("here", text, True)]) == []


def test_nothing_of_this_repositorys_configuration_is_a_secret():
    files = [*ROOT.glob("conf/**/*.yml"), ROOT / "pyproject.toml", ROOT / "Makefile", ROOT / "dvc.yaml"]
    lines = [Line(f"{file}, {n}", text, file.suffix in CONFIGURATION)
             for file in files for n, text in enumerate(file.read_text().splitlines(), 1)]  # fmt: skip
    assert len(lines) > 1000 and find_secrets(lines) == []
