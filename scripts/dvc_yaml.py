"""Writes `dvc.yaml` from Kedro's registry and catalog; with `--check`, only checks that it is up to date.

Each stage becomes a DVC stage. Its dependencies are the data that its nodes read, and every code file that its module
imports, directly or indirectly; its parameters are the blocks that its nodes read. `dvc.yaml` in the project's root has
the shared stages and the default method; each other method has its own `dvc.yaml` in a folder below `stages/`.
"""

import argparse
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import yaml
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog

from unlabeled.catalogue import ENCODERS, IMAGE_METHODS, METHODS, PAIR_METHODS

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("ingestion", "augmentation", "pretraining", "evaluation", "registration", "reporting")
SHARED = ("ingestion", "augmentation")
"""Stages that methods of images share. Their outputs persist, as a stage reuses those of images that it knows."""
KEPT = "pretraining"
"""The stage whose outputs persist for every method, as it keeps them where only labels have changed."""
RAW = "data/01_raw"
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
    """The content of each `dvc.yaml`, by its path."""
    bootstrap_project(PROJECT)
    from kedro.framework.project import pipelines, settings

    imports = grimp.build_graph("unlabeled", "pipelines")
    files: dict[Path, dict[str, Any]] = {}
    catalog = DataCatalog.from_config(
        settings.CONFIG_LOADER_CLASS(str(PROJECT / "conf"), **settings.CONFIG_LOADER_ARGS)["catalog"]
    )
    for number, method in enumerate(METHODS):
        code = Code(imports, method, pipelines[method])
        stages = {}
        shared = SHARED if method in IMAGE_METHODS else ()
        for stage in STAGES if number == 0 or not shared else STAGES[len(SHARED) :]:
            name = stage if stage in shared else f"{stage}-{method}"
            nodes = pipelines[method].only_nodes_with_tags(stage)
            stages[name] = _stage(stage, method, nodes, catalog, code)
        if number:
            stages = {name: {"wdir": "../..", **content} for name, content in stages.items()}
        files[PROJECT / "dvc.yaml" if number == 0 else PROJECT / "stages" / method / "dvc.yaml"] = {"stages": stages}
    return files


def _stage(stage: str, method: str, nodes: Any, catalog: Any, code: "Code") -> dict[str, Any]:
    inputs = [name for name in nodes.inputs() if not name.startswith("params:")]
    read = [file for name in inputs for file in _files(catalog, name)] + ([RAW] if stage == "ingestion" else [])
    outputs = {name: _files(catalog, name) for name in sorted(nodes.outputs())}
    kinds = {type(catalog.get(name)).__module__ for name in [*inputs, *outputs]}
    datasets = sorted(kind for kind in kinds if kind.startswith("pipelines."))  # their classes are named in the catalog
    plain = [file for name, files in outputs.items() if not name.endswith((".metrics", ".history")) for file in files]
    lasting = stage == KEPT or (stage in SHARED and method in IMAGE_METHODS | PAIR_METHODS)
    description = {
        "cmd": f"kedro run --pipelines={method} --tags={stage}",
        "deps": sorted(read) + code.files([_module(nodes), *datasets]),
        "params": _parameters(nodes),
        "outs": [{file: {"persist": True}} if lasting else file for file in sorted(plain)],
    }
    for name, files in outputs.items():
        if name.endswith(".metrics"):
            description["metrics"] = files
        elif name.endswith(".history"):
            description["plots"] = [{files[0]: {"x": "epoch", "y": "loss", "persist": True}}]
    return description


def _files(catalog: Any, name: str) -> list[str]:
    """The files of a dataset, relative to the project; empty for working folders and for data in memory."""
    files = getattr(catalog.get(name), "files", [])
    return [Path(file).as_posix() for file in files]


class Code:
    """The code files on which the stages of a method depend.

    Modules that are named in the catalogue are not imported by their users. So the module of the method is added where
    a method is loaded, and where an encoder is read, the modules of encoders that the training imports.
    """

    def __init__(self, imports: grimp.ImportGraph, method: str, pipeline: Any):
        self._imports, self._method = imports, METHODS[method].partition(":")[0]
        trained = self._imported([_module(pipeline.only_nodes_with_tags("pretraining"))])
        self._encoders = trained & {place.partition(":")[0] for place in ENCODERS.values()}

    def files(self, modules: list[str]) -> list[str]:
        """The files of modules, of all their direct and indirect imports, and of the templates in their rooms."""
        used = self._imported(modules)
        if "unlabeled.method" in used:
            used |= self._imported([self._method])
        if "unlabeled.encoders" in used:
            used |= self._imported(self._encoders)
        used.discard("unlabeled.catalogue")  # a table of names: a new entry must not rerun stages
        sources = {_source(name) for name in used}
        templates = (file for source in sources for file in (PROJECT / source).parent.glob("templates/*.j2"))
        return sorted({*sources, *(file.relative_to(PROJECT).as_posix() for file in templates)})

    def _imported(self, modules: Iterable[str]) -> set[str]:
        return {*modules, *(name for module in modules for name in self._imports.find_upstream_modules(module))}


def _module(nodes: Any) -> str:
    return nodes.nodes[0].func.__module__


def _source(module: str) -> str:
    path = Path("src" if module.startswith("unlabeled") else ".", *module.split("."))
    return (path / "__init__.py" if (PROJECT / path).is_dir() else path.with_suffix(".py")).as_posix()


def _parameters(nodes: Any) -> list[dict[str, list[str]]]:
    """The blocks of parameters, by file of the base environment; a method's own blocks only where it has them."""
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
    node: Any = _read(PROJECT / "conf/base" / file)
    for key in name.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True


@cache
def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    main()
