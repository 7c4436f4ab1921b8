"""Writes `dvc.yaml` from Kedro's registry and catalog, for the methods in use; with `--check`, only checks it.

Each stage becomes a DVC stage. Its dependencies are the data that its nodes read, and every code file that its module
imports, directly or indirectly; its parameters are the blocks that its nodes read. DVC's commands read every stage that
a project has, and a pull fails where a stage has never run: so a method has stages once it is used.
"""

import argparse
import logging
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog

from unlabeled.catalogue import ENCODERS, IMAGE_METHODS, METHODS, PAIR_METHODS

PROJECT = Path(__file__).absolute().parents[1]
STAGES = ("ingestion", "augmentation", "pretraining", "evaluation", "registration", "reporting")
SHARED = ("ingestion", "augmentation")
"""Stages that methods of images share. Their outputs persist, as a stage reuses those of images that it knows."""
KEPT = "pretraining"
"""The stage whose outputs persist for every method, as it keeps them where only labels have changed."""
RAW = "data/01_raw"
HEADER = """\
# Written by scripts/dvc_yaml.py from the Kedro registry and catalog, not by hand: `make dvc.yaml` after a change of
# imports, `make dvc METHODS="byol simclr"` for the stages of other methods.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, metavar="METHOD", help="in place of those in dvc.yaml")
    parser.add_argument("--add", choices=METHODS, metavar="METHOD", help="beside those in dvc.yaml that are in use")
    parser.add_argument("--check", action="store_true", help="exit with 1 where dvc.yaml is out of date")
    options = parser.parse_args()
    logging.captureWarnings(True)  # MLflow's, of models without type hints
    file = PROJECT / "dvc.yaml"
    used = options.methods or methods_of(file)
    if options.add:  # where nothing has run yet, the methods in the file are not in use
        used = [options.add, *(used if (PROJECT / "dvc.lock").exists() else [])]
    text = HEADER + yaml.safe_dump({"stages": stages_of(used)}, sort_keys=False, width=120)
    if not options.check:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        sys.exit("dvc.yaml does not fit the pipelines any more: run `make dvc.yaml`")


def methods_of(file: Path) -> list[str]:
    """The methods that have stages in a `dvc.yaml`; the default method where there is no such file."""
    stages = _read(file).get("stages") or {}
    return [method for method in METHODS if f"pretraining-{method}" in stages] or [next(iter(METHODS))]


def stages_of(methods: Iterable[str]) -> dict[str, Any]:
    """The stages of `dvc.yaml` for these methods, by name. The names of shared stages lack the name of a method."""
    sys.path.insert(0, str(PROJECT))
    from pipelines.pipeline_registry import register_pipelines

    pipelines = register_pipelines()
    imports = grimp.build_graph("unlabeled", "pipelines")
    loader = OmegaConfigLoader(str(PROJECT / "conf"), base_env="base", default_run_env="local")
    catalog = DataCatalog.from_config(loader["catalog"])
    stages = {}
    for method in (each for each in METHODS if each in methods):
        shared = SHARED if method in IMAGE_METHODS else ()
        for stage in STAGES:
            name = stage if stage in shared else f"{stage}-{method}"
            of = next(iter(IMAGE_METHODS)) if stage in shared else method  # the same stage, whatever method is in use
            if name not in stages:
                nodes = pipelines[of].only_nodes_with_tags(stage)
                stages[name] = _stage(stage, of, nodes, catalog, Code(imports, of, pipelines[of]))
    return stages


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
