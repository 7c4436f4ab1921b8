"""Runs the installed project, as `kedro run` runs this repository: `python -m pipelines run --pipeline=byol`."""

from kedro.framework.project import configure_project

from pipelines.cli import cli


def main() -> None:
    configure_project("pipelines")
    cli()


if __name__ == "__main__":
    main()
