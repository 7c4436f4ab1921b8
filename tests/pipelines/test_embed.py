"""Embeddings of a folder, and the search in them, by a registered version."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

FILE = "data/07_model_output/embeddings.parquet"


def embedded(project, photos, *params):
    result = project.kedro("--pipeline=embed", f"--params={','.join([f'embed.path={photos}', *params])}")
    assert result.exit_code == 0, result.output
    return result


def refusal(project, *arguments):
    result = project.kedro(*arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output
    return result.output


def test_a_folder_is_embedded_by_the_champion(registered, photos):
    result = embedded(registered, photos)
    assert "20 images embedded by unlabeled-digits version 1" in result.output
    assert "1 file without an embedding" in result.output
    table = pd.read_parquet(registered.path / FILE)
    assert len(table) == 21 and table.path.is_monotonic_increasing
    good = table[table.reason.isna()]
    assert {len(row) for row in good.embedding} == {256} and {len(row) for row in good.probability} == {10}
    assert set(good.predicted) <= set("0123456789")
    about = registered.json("data/07_model_output/embeddings.json")
    assert (about["model"], about["version"], about["images"], about["rejected"]) == ("unlabeled-digits", "1", 20, 1)


def test_a_version_is_chosen_by_its_number_and_a_model_by_its_name(registered, photos):
    embedded(registered, photos, "embed.version=1", "embed.model_name=unlabeled-digits", "embed.chunk=5")
    assert pq.read_schema(registered.path / FILE).metadata[b"version"] == b"1"
    assert pq.ParquetFile(registered.path / FILE).num_row_groups == 5


@pytest.mark.parametrize(
    "params, message",
    [
        ("embed.version=9", "has no unlabeled-digits version 9"),
        ("embed.version=best", "has no unlabeled-digits version best"),
        ("embed.model_name=elsewhere", "has no elsewhere version champion"),
        ("embed.path=nowhere", "embed.path: {project}/nowhere does not exist"),
        ("embed.path=pyproject.toml", "embed.path: {project}/pyproject.toml is a file, expected a folder of images"),
        ("embed.path=data/01_raw", "embed.path: {project}/data/01_raw holds no images"),
        ("embed.chunk=0", "embed.chunk: received 0, expected greater than or equal to 1"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(registered, photos, params, message):
    said = refusal(registered, "--pipeline=embed", f"--params=embed.path={photos},{params}")
    assert message.format(project=registered.path) in said


def test_without_a_folder_or_a_registered_model_nothing_is_embedded(project, photos):
    assert "embed.path: received None" in refusal(project, "--pipeline=embed")
    assert "has no unlabeled-digits version champion" in refusal(
        project, "--pipeline=embed", f"--params=embed.path={photos}"
    )


def test_images_like_one_are_found(registered, photos):
    embedded(registered, photos)
    result = registered.kedro("--pipeline=search", f"--params=search.image={photos / '00.png'},search.top=3")
    assert result.exit_code == 0, result.output
    similar = pd.read_csv(registered.path / "data/08_reporting/similar.csv")
    assert len(similar) == 3 and similar.similarity.is_monotonic_decreasing
    assert "00.png" not in set(similar.path) and f"{similar.similarity[0]:.3f} {similar.path[0]}" in result.output
    page = (registered.path / "data/08_reporting/similar.html").read_text()
    assert page.count("<img") == 4 and "Images like 00.png" in page


def test_an_image_from_elsewhere_may_be_the_query(registered, photos, tmp_path):
    embedded(registered, photos)
    (tmp_path / "query.png").write_bytes((photos / "07.png").read_bytes())
    assert registered.kedro("--pipeline=search", f"--params=search.image={tmp_path / 'query.png'}").exit_code == 0
    similar = pd.read_csv(registered.path / "data/08_reporting/similar.csv")
    assert similar.path[0] == "07.png" and similar.similarity[0] == pytest.approx(1, abs=1e-5) and len(similar) == 10


def test_a_search_needs_an_image_and_embeddings(registered, photos):
    assert "search.image: received None" in refusal(registered, "--pipeline=search")
    search = "--pipeline=search", "--params=search.image=nowhere.png"
    assert "embeddings.parquet is missing: run kedro run --pipeline=embed" in refusal(registered, *search)
    embedded(registered, photos)
    assert f"search.image: {registered.path}/nowhere.png cannot be used" in refusal(registered, *search)


def test_embeddings_of_other_weights_than_the_registrys_are_not_searched(registered, photos):
    embedded(registered, photos)
    table = pq.read_table(registered.path / FILE)
    other = table.replace_schema_metadata({**table.schema.metadata, b"weights": b"others"})
    pq.write_table(other, registered.path / FILE)
    search = "--pipeline=search", f"--params=search.image={photos / '00.png'}"
    assert "was made by another unlabeled-digits version 1" in refusal(registered, *search)
