"""Writes `dvc.yaml` from Kedro's registry and catalog; with `--check`, says whether it is up to date.

A stage of DVC is a stage of ours: its dependencies are the data that its nodes read, and every file of code that its
module imports, directly or not; its parameters are the blocks that its nodes take. The project's own file has what all
methods share and the default method; each other one has a file in a folder of its own, below `stages/`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import grimp
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from unlabeled.catalogue import IMAGE_METHODS, METHODS, PAIR_METHODS, TEXT_METHODS, VIDEO_METHODS

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("ingestion", "augmentation", "pretraining", "evaluation", "registration", "reporting")
SHARED = ("ingestion", "augmentation")
"""Of all methods; and they take over what their last run made of the same images, which DVC would remove."""
RAW = "data/01_raw"
ENCODERS = {
    **dict.fromkeys(TEXT_METHODS, ["unlabeled.text.encoder"]),
    **dict.fromkeys(PAIR_METHODS, ["unlabeled.pairs.towers", "unlabeled.images.encoder", "unlabeled.text.encoder"]),
    **dict.fromkeys(VIDEO_METHODS, ["unlabeled.pairs.towers", "unlabeled.video.encoders"]),
}
"""Modules that `unlabeled.encoders` finds by the name of a kind."""
TEMPLATES = {"unlabeled.reports.page": ["src/unlabeled/reports/templates/page.html.j2"]}
"""What a module reads of the package that is no module."""
HEADER = "# Written by scripts/dvc_yaml.py from the Kedro registry and catalog: `make dvc.yaml`, not by hand.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where dvc.yaml is out of date")
    check = parser.parse_args().check
    for path, content in dvc_yamls().items():
        text = HEADER + yaml.safe_dump(content, sort_keys=False, width=120)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path.relative_to(PROJECT)} does not fit the pipelines any more: run `make dvc.yaml`")


def dvc_yamls() -> dict[Path, dict[str, Any]]:
    """The content of each file."""
    bootstrap_project(PROJECT)
    from kedro.framework.project import pipelines

    imports = grimp.build_graph("unlabeled", "pipelines")
    files: dict[Path, dict[str, Any]] = {}
    with KedroSession.create(PROJECT) as session:
        catalog = session.load_context().catalog  # made anew each time that it is asked for
        for number, method in enumerate(METHODS):
            stages = {}
            shared = SHARED if method in IMAGE_METHODS else ()
            for stage in STAGES if number == 0 or not shared else STAGES[len(SHARED) :]:
                name = stage if stage in shared else f"{stage}-{method}"
                nodes = pipelines[method].only_nodes_with_tags(stage)
                stages[name] = _stage(stage, method, nodes, catalog, imports)
            if number:
                stages = {name: {"wdir": "../..", **content} for name, content in stages.items()}
            files[PROJECT / "dvc.yaml" if number == 0 else PROJECT / "stages" / method / "dvc.yaml"] = {
                "stages": stages
            }
    return files


def _stage(stage: str, method: str, nodes: Any, catalog: Any, imports: Any) -> dict[str, Any]:
    inputs = [name for name in nodes.inputs() if not name.startswith("params:")]
    read = [file for name in inputs for file in _files(catalog, name)] + ([RAW] if stage == "ingestion" else [])
    outputs = {name: _files(catalog, name) for name in sorted(nodes.outputs())}
    kinds = {type(catalog.get(name)).__module__ for name in [*inputs, *outputs]}
    datasets = sorted(kind for kind in kinds if kind.startswith("pipelines."))  # which the catalog names
    plain = [file for name, files in outputs.items() if not name.endswith((".metrics", ".history")) for file in files]
    lasting = stage in SHARED and method in IMAGE_METHODS | PAIR_METHODS
    description = {
        "cmd": f"kedro run --pipelines={method} --tags={stage}",
        "deps": sorted(read) + _code([nodes.nodes[0].func.__module__, *datasets], method, imports),
        "params": _parameters(nodes),
        "outs": [{file: {"persist": True}} if lasting else file for file in sorted(plain)],
    }
    for name, files in outputs.items():
        if name.endswith(".metrics"):
            description["metrics"] = files
        elif name.endswith(".history"):
            description["plots"] = [{files[0]: {"x": "epoch", "y": "loss"}}]
    return description


def _files(catalog: Any, name: str) -> list[str]:
    """The files of a dataset, relative to the project; none for a folder to work in, or what the run itself gives."""
    files = getattr(catalog.get(name), "files", [])
    return [Path(file).relative_to(PROJECT).as_posix() for file in files]


def _code(modules: list[str], method: str, imports: Any) -> list[str]:
    """The files that modules are made of, imported directly or not.

    Names in tables are no imports: those of the method, where one is loaded, and of its kind of encoder are added.
    """
    used = _imported(modules, imports)
    if "unlabeled.method" in used:
        used |= _imported([METHODS[method].partition(":")[0]], imports)
    if "unlabeled.encoders" in used:
        used |= _imported(ENCODERS.get(method, ["unlabeled.images.encoder"]), imports)
    used.discard("unlabeled.catalogue")  # a table of names: adding one to it reruns nothing
    templates = [file for name in used for file in TEMPLATES.get(name, [])]
    return sorted([*map(_source, used), *templates])


def _imported(modules: list[str], imports: Any) -> set[str]:
    """The modules, and those that they import, directly or not."""
    return {*modules, *(name for module in modules for name in imports.find_upstream_modules(module))}


def _source(module: str) -> str:
    path = Path("src" if module.startswith("unlabeled") else ".", *module.split("."))
    return (path / "__init__.py" if (PROJECT / path).is_dir() else path.with_suffix(".py")).as_posix()


def _parameters(nodes: Any) -> list[dict[str, list[str]]]:
    """The blocks in the base environment's files; a method's own only where it has one."""
    shared, own = set(), {}
    for name in (name.removeprefix("params:") for name in nodes.inputs() if name.startswith("params:")):
        method, _, block = name.partition(".")
        if _has("parameters.yml", name):
            shared.add(name)
            continue
        if method in IMAGE_METHODS or block not in SHARED:
            shared.add(block)
        if _has(f"parameters_{method}.yml", name):
            own.setdefault(f"conf/base/parameters_{method}.yml", set()).add(name)
    return [{file: sorted(keys)} for file, keys in {"conf/base/parameters.yml": shared, **own}.items() if keys]


def _has(file: str, name: str) -> bool:
    path = PROJECT / "conf/base" / file
    node: Any = yaml.safe_load(path.read_text()) if path.exists() else {}
    for key in name.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


if __name__ == "__main__":
    main()
