import pytest
import yaml

from pipelines.parameters import PER_METHOD, MethodConfigLoader, check_spelling, warn_unread, with_method
from pipelines.settings import CONFIG_LOADER_ARGS
from unlabeled.catalogue import IMAGE_METHODS, TEXT_METHODS
from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining, Registration
from unlabeled.errors import ConfigError
from unlabeled.images.pretrain import check
from unlabeled.text.config import Packing, TextIngestion, TextPretraining

BLOCKS = {block.block: block for block in (Ingestion, Augmentation, Pretraining, Evaluation, Registration)}


@pytest.fixture
def parameters(tmp_path):
    """A function from the contents of configuration files, and what `--params` gives, to the parameters."""

    def load(files, env="local", **given):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(yaml.safe_dump(content))
        (tmp_path / env).mkdir(exist_ok=True)
        loader = MethodConfigLoader(str(tmp_path), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)
        return loader["parameters"]

    return load


SHARED = {"pretraining": {"epochs": 10, "seed": 1, "method": {"a": 1, "b": 1}}}
OWN = {"byol": {"pretraining": {"epochs": 20, "method": {"b": 2}}}}
BASE = {"base/parameters.yml": SHARED, "base/parameters_byol.yml": OWN}


def test_a_method_has_the_stages_block_and_its_own_changes(parameters):
    assert parameters(BASE)["byol"]["pretraining"] == {"epochs": 20, "seed": 1, "method": {"a": 1, "b": 2}}
    assert parameters(BASE)["pretraining"] == SHARED["pretraining"]


def test_an_environment_beats_the_base_in_either_place(parameters):
    files = BASE | {"small/parameters.yml": {"pretraining": {"seed": 5}}}
    assert parameters(files, "small")["byol"]["pretraining"] == {"epochs": 20, "seed": 5, "method": {"a": 1, "b": 2}}
    files |= {"small/parameters_byol.yml": {"byol": {"pretraining": {"epochs": 3}}}}
    assert parameters(files, "small")["byol"]["pretraining"]["epochs"] == 3


def test_given_parameters_beat_all_and_a_methods_own_beat_the_stages(parameters):
    assert parameters(BASE, pretraining={"epochs": 7})["byol"]["pretraining"]["epochs"] == 7
    both = parameters(BASE, pretraining={"epochs": 7}, byol={"pretraining": {"epochs": 8}})
    assert both["byol"]["pretraining"]["epochs"] == 8 and both["pretraining"]["epochs"] == 7


def test_a_nested_key_leaves_its_neighbours(parameters):
    assert parameters(BASE, pretraining={"method": {"b": 9}})["byol"]["pretraining"]["method"] == {"a": 1, "b": 9}


def test_a_block_has_to_be_a_block(parameters):
    with pytest.raises(ConfigError, match="pretraining: received 3, expected a block"):
        parameters(BASE, pretraining=3)


@pytest.mark.parametrize("env", ["base", "cifar10", "cifar10_cpu", "cifar10_long", "photos"])
@pytest.mark.parametrize("method", IMAGE_METHODS)
def test_every_environment_of_the_project_is_valid(request, env, method):
    conf = request.config.rootpath / "conf"
    given = {"ingestion": {"path": "/somewhere"}}
    loader = MethodConfigLoader(str(conf), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)
    parameters = loader["parameters"]
    BLOCKS["ingestion"].model_validate(parameters["ingestion"])
    for block in PER_METHOD:
        BLOCKS[block].model_validate(parameters[method][block])


PUBLISHED = {  # by lightly and by solo-learn, on CIFAR-10
    "cifar10": ("byol", "simclr", "moco", "simsiam", "dino", "barlow_twins"),
    "cifar10_long": ("byol", "simclr", "moco", "simsiam", "dino", "barlow_twins", "vicreg"),
}


@pytest.mark.parametrize("env, method", [(env, method) for env, methods in PUBLISHED.items() for method in methods])
def test_a_recipe_with_a_published_number_builds_its_method(request, env, method):
    loader = MethodConfigLoader(str(request.config.rootpath / "conf"), env=env, **CONFIG_LOADER_ARGS)
    config = Pretraining.model_validate(loader["parameters"][method]["pretraining"])
    check(method, config, size=32)
    assert (config.encoder, config.epochs) == ("resnet18", 1000 if env == "cifar10_long" else 200)


OF_A_TRAINING = ("epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "warmup_epochs")


@pytest.mark.parametrize("env", ["cifar10", "cifar10_cpu", "cifar10_long", "photos"])
@pytest.mark.parametrize("method", IMAGE_METHODS)
def test_what_a_method_has_of_its_own_for_digits_hides_nothing_that_an_environment_says(request, env, method):
    conf = request.config.rootpath / "conf"

    def set_by(folder, file, *blocks):
        path = conf / folder / file
        values = yaml.safe_load(path.read_text()) if path.exists() else {}
        for block in blocks:
            values = values.get(block, {})
        return values.keys() & {*OF_A_TRAINING}

    own = f"parameters_{method}.yml", method, "pretraining"
    assert set_by("base", *own) & set_by(env, "parameters.yml", "pretraining") <= set_by(env, *own)


@pytest.mark.parametrize("env", ["base", "cifar10", "photos"])
@pytest.mark.parametrize("method", TEXT_METHODS)
def test_every_environment_is_valid_for_text_too(request, env, method):
    loader = MethodConfigLoader(str(request.config.rootpath / "conf"), env=env, **CONFIG_LOADER_ARGS)
    for block in (TextIngestion, Packing, TextPretraining, Evaluation, Registration):
        block.model_validate(loader["parameters"][method][block.block])


def test_a_method_is_a_block(parameters):
    with pytest.raises(ConfigError, match="byol: received 3, expected a block of parameters such as byol.KEY=VALUE"):
        parameters({"base/parameters.yml": {}}, byol=3)


def test_blocks_of_others_in_the_files_are_theirs():
    read = ["byol.pretraining", "finetune"]
    check_spelling({"plug": {"pretraining": {"epochs": 3}}, "mine": 3, "finetune": {"steps": 1}}, read)
    for name in ("bjol", "byol"):
        with pytest.raises(
            ConfigError, match=rf"{name}.pretrainig is not a parameter: did you mean byol.pretraining\?"
        ):
            check_spelling({name: {"pretrainig": 3}}, read)


def test_what_no_stage_of_a_run_reads_is_told(caplog):
    given = {"pretraining": {"epochs": 3}, "simclr": {"pretraining": {"epochs": 3}}, "finetune": {"steps": 1}}
    warn_unread(given, ["byol.pretraining", "ingestion"])
    assert caplog.messages == [
        "simclr.pretraining.epochs: no stage of this run reads it",
        "finetune.steps: no stage of this run reads it",
    ]


def test_what_is_given_of_images_is_not_of_text_and_the_reverse(parameters):
    files = {"base/parameters.yml": {"ingestion": {"image_size": 8}}, "base/parameters_gpt.yml": {"gpt": {"a": 1}}}
    assert parameters(files)["gpt"]["ingestion"] == {}
    given = {"ingestion": {"path": "/photos"}, "pretraining": {"encoder": "resnet18", "epochs": 3}}
    merged = parameters(files, **given, gpt={"ingestion": {"path": "/texts"}})
    assert merged["gpt"]["ingestion"] == {"path": "/texts"} and merged["gpt"]["pretraining"] == {"epochs": 3}
    assert merged["ingestion"]["path"] == "/photos"


def test_what_a_user_has_set_is_told_from_defaults(tmp_path):
    def chosen(name, env=None, **given):
        loader = MethodConfigLoader(str(tmp_path), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)
        return loader.chosen(name)

    sizes = {"pretraining": {"batch_size": 256, "epochs": 9}, "gpt": {"ingestion": {"vocabulary": 4096}}}
    files = {
        "base": {"pretraining": {"batch_size": 32}},
        "local": {"byol": {"pretraining": {"seed": 3}}},
        "mine": sizes,
    }
    for env, content in files.items():
        (tmp_path / env).mkdir()
        (tmp_path / env / "parameters.yml").write_text(yaml.safe_dump(content))
    assert chosen("byol.pretraining") == {"seed"} and chosen("simclr.pretraining") == set()
    assert chosen("byol.pretraining", pretraining={"batch_size": 8}) == {"seed", "batch_size"}
    assert chosen("byol.pretraining", "mine") == {"epochs"} and chosen("gpt.ingestion", "mine") == set()
    assert chosen("gpt.ingestion", gpt={"ingestion": {"vocabulary": 300}}) == {"vocabulary"}
    assert chosen("gpt.ingestion", ingestion={"path": "/photos"}) == set()


@pytest.mark.parametrize(
    ("text", "pipelines", "expected"),
    [
        ("lower ingestion.vocabulary", ["gpt"], "lower gpt.ingestion.vocabulary"),
        (
            "augmentation.mels or pretraining.encoder=a",
            ["clip"],
            "clip.augmentation.mels or clip.pretraining.encoder=a",
        ),
        ("gpt.ingestion.path, pretraining.epochs", ["gpt"], "gpt.ingestion.path, pretraining.epochs"),
        ("conf/ingestion.yml, the ingestion. Then", ["gpt"], "conf/ingestion.yml, the ingestion. Then"),
        ("lower ingestion.image_size", ["byol"], "lower ingestion.image_size"),
        ("lower ingestion.image_size", ["compare"], "lower ingestion.image_size"),
    ],
)
def test_a_message_names_a_parameter_as_the_method_takes_it(text, pipelines, expected):
    assert with_method(text, pipelines) == expected
