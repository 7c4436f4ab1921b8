"""`kedro package`, with an archive of the configuration that omits secrets and conf/local."""

import inspect
import tarfile
from pathlib import Path

from kedro.framework.cli.project import package as kedro_package
from kedro.framework.startup import ProjectMetadata

from pipelines.clients.git import is_recorded
from pipelines.registry.scan import check_no_secrets, lines_of_file


def make_package(metadata: ProjectMetadata) -> None:
    """Writes a wheel and the archive to dist/. Raises UnlabeledError where a configuration file holds a secret."""
    files = configuration(metadata.project_path)
    contents = {name: file.read_text(errors="replace") for name, file in files.items()}
    check_no_secrets(line for name, content in contents.items() for line in lines_of_file(name, content))
    inspect.unwrap(kedro_package.callback)(metadata)  # ty: ignore[invalid-argument-type]  # it has a callback
    with tarfile.open(f"dist/conf-{metadata.package_name}.tar.gz", "w:gz") as archive:  # replaces Kedro's archive
        for name, file in files.items():
            archive.add(file, name)
        local = tarfile.TarInfo("conf/local")  # Kedro expects the folder
        local.type, local.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(local)


def configuration(project: Path) -> dict[str, Path]:
    """The configuration files that a record would hold, by their paths relative to the project."""
    files = {path.relative_to(project).as_posix(): path for path in sorted((project / "conf").rglob("*"))}
    return {
        name: path for name, path in files.items() if is_recorded(name) and path.is_file() and not path.is_symlink()
    }
