"""README and docs name only what exists: files, headings, commands, parameters."""

import re
from pathlib import Path

import pytest

from unlabeled import config
from unlabeled.catalogue import METHODS
from unlabeled.pairs.config import PairAugmentation, PairEvaluation, PairsIngestion
from unlabeled.text.config import TextIngestion

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
TODAY = {name: text for name, text in PAGES.items() if name not in ("docs/results.md", "docs/decisions.md")}
"""Without the pages that tell of earlier code as well."""
CODE = ("src", "pipelines", "tests", "conf", "scripts", "benchmarks", ".github")
BLOCKS = [config.Ingestion, config.Augmentation, config.Pretraining, config.Evaluation, config.Registration]
BLOCKS += [config.Compare, config.Finetuning, config.Embedding, config.Search, config.Exporting]
BLOCKS += [PairsIngestion, PairAugmentation, PairEvaluation, TextIngestion]
KEYS = {f"{each.block}.{key}" for each in BLOCKS for key in each.model_fields}
COMMANDS = (path for path in (ROOT / "pipelines/commands").glob("*.py") if "def create_pipeline" in path.read_text())
PIPELINES = METHODS.keys() | {path.stem for path in COMMANDS}


def anchors(text):
    """Those that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_to_a_file_and_a_heading_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


def test_the_readme_links_to_every_page():
    missing = [page for page in PAGES if page != "README.md" and f"]({page})" not in PAGES["README.md"]]
    assert not missing


def test_a_page_that_code_names_exists():
    files = [path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml", ".j2")]
    named = {name for file in files for name in re.findall(r"(?<![\w/])docs/[\w-]+\.(?:md|png|csv)", file.read_text())}
    assert {"docs/results.md", "docs/diagnosis.md"} <= named
    assert not [name for name in named - {"docs/a.md"} if not (ROOT / name).exists()]  # test_git.py makes that one


@pytest.mark.parametrize("page", TODAY)
def test_commands_name_pipelines_environments_targets_and_scripts_that_exist(page):
    text = TODAY[page]
    assert set(re.findall(r"--pipeline=(\w+)", text)) <= PIPELINES
    assert {name for name in re.findall(r"--env=(\w+)", text) if not (ROOT / "conf" / name).is_dir()} == set()
    targets = set(re.findall(r"(?:^|`)make ([\w.-]+)", text, re.M))
    makefile = (ROOT / "Makefile").read_text()
    assert {
        name for name in targets - METHODS.keys() if not re.search(rf"^[^#\t]*\b{name}\b.*:", makefile, re.M)
    } == set()
    scripts = re.findall(r"\b(benchmarks|scripts)[/.](\w+)", text)
    assert {name for name in scripts if not list(ROOT.glob("/".join(name) + ".*"))} == set()


@pytest.mark.parametrize("page", TODAY)
def test_parameters_that_are_named_exist(page):
    blocks = "|".join(sorted({each.block for each in BLOCKS}))
    methods = "|".join(METHODS)
    named = set(re.findall(rf"(?<![\w./])(?:(?:{methods})\.)?((?:{blocks})\.[a-z_]+)\b(?!\()", TODAY[page]))
    files = {f"{each.block}.{ending}" for each in BLOCKS for ending in ("py", "json", "csv", "md")}
    assert named - files - {"byol.evaluation"} <= KEYS


def test_the_glossary_has_each_term_once_in_alphabetical_order():
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", PAGES["docs/glossary.md"], re.M)
    assert len(terms) > 30 and terms == sorted(set(terms), key=str.lower)
