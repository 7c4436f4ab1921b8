"""`kedro package`, with an archive of the configuration that holds neither keys nor conf/local."""

import inspect
import tarfile
from pathlib import Path

from kedro.framework.cli.project import package as kedro_package
from kedro.framework.startup import ProjectMetadata

from pipelines.clients.git import is_recorded
from pipelines.registry.scan import check_no_secrets, lines_of_file


def make_package(metadata: ProjectMetadata) -> None:
    """Leaves a wheel and the archive in dist/. Raises UnlabeledError where a file of the configuration has a secret."""
    files = configuration(metadata.project_path)
    contents = {name: file.read_text(errors="replace") for name, file in files.items()}
    check_no_secrets(line for name, content in contents.items() for line in lines_of_file(name, content))
    inspect.unwrap(kedro_package.callback)(metadata)  # ty: ignore[invalid-argument-type]  # it has one
    with tarfile.open(f"dist/conf-{metadata.package_name}.tar.gz", "w:gz") as archive:  # over Kedro's
        for name, file in files.items():
            archive.add(file, name)
        local = tarfile.TarInfo("conf/local")  # which Kedro wants to be there
        local.type, local.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(local)


def configuration(project: Path) -> dict[str, Path]:
    """The files that a record of the configuration would hold, by their names in the project."""
    files = {path.relative_to(project).as_posix(): path for path in sorted((project / "conf").rglob("*"))}
    return {
        name: path for name, path in files.items() if is_recorded(name) and path.is_file() and not path.is_symlink()
    }
