"""Documents, tokens, sequences, encoder: what text has to itself."""

import time

import numpy as np
import pytest
import torch

from unlabeled.errors import ConfigError, DataError
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.text.config import TextIngestion, TextPretraining
from unlabeled.text.encoder import TextEncoder
from unlabeled.text.ingest import ingest, passages_of, texts_of
from unlabeled.text.language import next_token_bits
from unlabeled.text.ngrams import KneserNey
from unlabeled.text.packing import Sequences, pack, padding_of
from unlabeled.text.tokens import encode, train_tokenizer


def sentences(number):
    words = np.random.default_rng(number).choice(["sea", "sky", "stone", "river", "light", "über"], 60)
    return f"Text {number}.\n\n" + "\n".join(" ".join(words[i : i + 10]) for i in range(0, 60, 10))


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        file = tmp_path / "texts" / ("odd" if number % 2 else "even") / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sentences(number), encoding="utf-8")
    return tmp_path / "texts"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([sentences(n) for n in range(20)], TextIngestion(vocabulary=310))


def config(folder, **changed):
    return TextIngestion(**{"source": "text", "path": str(folder), "vocabulary": 300, "passage": 100} | changed)


def test_a_folder_becomes_labelled_passages_that_make_up_its_documents(folder):
    made = ingest(config(folder))
    assert made.summary["documents"] == 20 and made.summary["classes"] == ["even", "odd"]
    together = sorted(text for split in ("train", "validation", "test") for text in texts_of(made.manifest, split))
    assert together == sorted(sentences(n) for n in range(20))
    assert (made.manifest.groupby("path").split.nunique() == 1).all()


@pytest.fixture
def reviews(tmp_path):
    """Texts as aclImdb has them: splits, then classes, and lists and notes beside both."""
    root = tmp_path / "aclImdb"
    kinds = ["train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"]
    for number in range(60):
        file = root / kinds[number % 5] / f"{number}_7.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(sentences(number), encoding="utf-8")
    for name in ("README", "imdb.vocab", "imdbEr.txt", "train/urls_pos.txt", "train/labeledBow.feat", "test/urls.txt"):
        (root / name).write_text("a list")
    (root / "train/pos/._0_7.txt").write_bytes(b"\xff")
    return root


def test_official_splits_of_texts_are_kept(reviews):
    made = ingest(config(reviews, validation_fraction=0.0))
    assert set(made.manifest.path.str.split("/").str[0] + " " + made.manifest.split) == {"train train", "test test"}
    assert made.summary["counts"] == {
        "neg": {"train": 12, "test": 12},
        "pos": {"train": 12, "test": 12},
        "": {"train": 12},
    }
    assert made.summary["splits_from"] == "official: train/, test/" and len(made.quarantine) == 0
    left_out = {reason: each["count"] for reason, each in made.summary["left_out"].items()}
    beside = "beside the folders of splits and classes"
    assert left_out == {"left by systems and tools": 1, "not texts by their names": 1, beside: 5}


def test_a_missing_validation_split_of_texts_is_drawn_from_train(reviews):
    made = ingest(config(reviews.parent, validation_fraction=0.3))
    held = made.manifest[made.manifest.split == "validation"]
    assert len(held) and held.path.str.startswith("aclImdb/train/").all()
    assert made.summary["splits_from"].endswith("aclImdb/test/; drawn from train by content: validation (30%)")
    assert made.summary["classes"] == ["neg", "pos"]


def test_what_stands_in_a_test_document_too_is_not_trained_on(reviews):
    (reviews / "test/pos/9_9.txt").write_text(f"{sentences(0)}\n\nand more, so that it is the longer one of both")
    manifest = ingest(config(reviews)).manifest
    paragraph = sentences(0).split("\n\n")[1]
    assert [split for split in ("train", "test") if paragraph in "\n\n".join(texts_of(manifest, split))] == ["test"]


def test_folders_of_texts_are_walked_as_those_of_images(tmp_path):
    for number in range(20):
        (tmp_path / "real").mkdir(exist_ok=True)
        (tmp_path / "real" / str(number)).write_text(sentences(number), encoding="utf-8")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/news").symlink_to("../real"), (tmp_path / "real/back").symlink_to(".")
    for name in ("photo.jpg", "all.zip", ".hidden"):
        (tmp_path / "real" / name).write_bytes(b"\xff")
    made = ingest(config(tmp_path / "texts"))
    assert made.summary["classes"] == ["news"] and made.summary["documents"] == 20 and len(made.quarantine) == 0


def test_passages_lose_nothing():
    text = "\n\na\nbb\n\n" + "c" * 50 + "\n"
    assert "\n".join(passages_of(text, 10)) == text


@pytest.mark.parametrize("rest", ["\n", "\n \t\n", "\n\f\n", "\n\u00a0\n", "\n\ufeff\n\u200b", "\nend", "\n" * 500, ""])
def test_a_short_rest_stays_with_the_passage_before_it(rest):
    text = "\n".join(f"line {number} of a text that goes on" for number in range(22)) + rest
    passages = passages_of(text, 100)
    assert "\n".join(passages) == text and len(passages) == 5
    assert all(len(passage.strip()) >= 100 for passage in passages)


def test_blank_lines_alone_are_no_passage():
    text = "\n" * 700 + "a line of text" + "\n" * 700 + "another line"
    assert passages_of(text, 20) == [text]
    assert passages_of("short\n", 100) == ["short\n"]


def test_text_that_ends_in_a_newline_has_no_passages_more_than_text_that_does_not(tmp_path):
    made = []
    for end in ("", "\n", "\r\n", "\n\n\n"):
        for number in range(20):
            file = tmp_path / repr(end) / str(number % 2) / f"{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((sentences(number) + end).encode())
        made.append(ingest(config(tmp_path / repr(end), passage=50)).manifest)
    assert len({len(manifest) for manifest in made}) == 1
    assert all(manifest.text.str.strip().str.len().min() >= 50 for manifest in made)


@pytest.mark.parametrize("content", ["\n \n", "\ufeff\ufeff\n", "\u200b", "\f\n", "\u00a0", "\x00\x00"])
def test_a_file_in_which_nothing_can_be_seen_is_empty(folder, content):
    (folder / "blank.txt").write_text(content, encoding="utf-8")
    assert ingest(config(folder)).quarantine.to_numpy().tolist() == [["blank.txt", "empty"]]


def test_line_ends_of_every_system_are_line_ends(tmp_path):
    for name, end in (("unix", "\n"), ("windows", "\r\n"), ("old mac", "\r")):
        (tmp_path / name).mkdir()
        for number in range(12):
            lines = [sentences(100 * number + line) for line in range(9)]
            (tmp_path / name / f"{number}.txt").write_bytes(end.join(lines).encode())
    made = [ingest(config(tmp_path / name)).manifest for name in ("unix", "windows", "old mac")]
    assert all(manifest.equals(made[0]) for manifest in made) and len(made[0]) > 24


def test_headings_with_nothing_between_them_begin_one_document(tmp_path):
    text = "# Part\n\n# Chapter\n" + sentences(0) + "".join(f"\n# Chapter\n{sentences(n)}" for n in range(1, 9))
    (tmp_path / "book.txt").write_text(text)
    texts = ingest(config(tmp_path, documents="heading")).manifest.text
    assert texts.str.startswith("# Part\n\n# Chapter").sum() == 1 and texts.str.len().min() > 50


def test_what_stands_in_two_documents_is_kept_in_the_shorter_one(folder):
    paragraph = "A paragraph that is long enough to be taken for a copy of another one, word by word."
    (folder / "odd/1.txt").write_text(f"{sentences(1)}\n\n{paragraph}")
    (folder / "even/0.txt").write_text(paragraph)
    texts = ingest(config(folder)).manifest.text
    assert texts.str.contains(paragraph).sum() == 1


def test_a_copy_an_empty_file_and_bad_utf8_go_to_quarantine(folder):
    (folder / "copy.txt").write_text(sentences(3) * 0 + "x" * 70), (folder / "copy2.txt").write_text("x" * 70)
    (folder / "empty.txt").write_text(" \n"), (folder / "bad.txt").write_bytes(b"caf\xe9 au lait")
    reasons = dict(ingest(config(folder, max_quarantined=0.5)).quarantine.to_numpy())
    assert reasons == {
        "bad.txt": "not UTF-8: byte 3 is 0xe9",
        "empty.txt": "empty",
        "copy2.txt": "all of it stands in other documents",
    }


@pytest.mark.parametrize("title", ["= A title = ", "# A title"])
def test_a_file_is_cut_at_its_headings(tmp_path, title):
    text = "".join(f" {title}\n{sentences(n)}\n" if title[0] == "=" else f"{title}\n{sentences(n)}\n" for n in range(9))
    (tmp_path / "all.txt").write_text(text)
    made = ingest(config(tmp_path / "all.txt", documents="heading"))
    assert made.summary["documents"] == 9


def test_too_little_text_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="which does not exist"):
        ingest(config(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="a folder without files"):
        ingest(config(tmp_path))
    (tmp_path / "one.txt").write_text(sentences(0))
    with pytest.raises(DataError, match="found 1 document, and needs two .* ingestion.documents=heading"):
        ingest(config(tmp_path))


def test_a_vocabulary_that_the_corpus_does_not_have_is_refused(folder):
    with pytest.raises(ConfigError, match="ingestion.vocabulary: received 5000, expected no more than"):
        ingest(config(folder, vocabulary=5000))


def test_bytes_come_back_from_their_tokens(tokenizer):
    text = "Größe \t 漢字 \n\n the sea"
    assert tokenizer.decode(encode(tokenizer, text).tolist()) == text


def test_packing_loses_and_repeats_nothing(tokenizer):
    texts = [sentences(n) for n in range(5)]
    rows = pack(texts, tokenizer, 32)
    stream = [number for text in texts for number in [3, *encode(tokenizer, text)]]
    assert rows.dtype == np.uint16 and rows.reshape(-1)[: len(stream)].tolist() == stream
    assert (rows.reshape(-1)[len(stream) :] == 0).all() and padding_of(rows) < 32 / rows.size


@pytest.mark.parametrize("pairs", [False, True])
def test_a_batch_follows_from_its_step_alone(tokenizer, pairs):
    rows = pack([sentences(n) for n in range(20)], tokenizer, 16)
    drawn = {"pairs": pairs, "batch_size": 4, "seed": 0, "device": torch.device("cpu")}
    first, again = Sequences(rows, 16, **drawn), Sequences(rows, 16, **drawn)
    batches = [first.batch(step) for step in range(2 * first.steps_per_epoch)]
    for step in reversed(range(len(batches))):
        assert all(torch.equal(a, b) for a, b in zip(again.batch(step), batches[step], strict=True))
        assert all((part > 0).all() for part in batches[step][:2])  # no [PAD]


def test_half_of_the_second_sequences_follow(tokenizer):
    rows = pack([sentences(n) for n in range(20)], tokenizer, 16)
    supply = Sequences(rows, 16, pairs=True, batch_size=4, seed=0, device=torch.device("cpu"))
    stream, follow = torch.from_numpy(rows.reshape(-1).astype(np.int64)), []
    for step in range(20 * supply.steps_per_epoch):
        for first, second, follows in zip(*supply.batch(step), strict=True):
            follow.append(follows.item())
            both = torch.cat([first, second])
            assert not follows or (stream.unfold(0, 32, 1) == both).all(1).any()
    assert np.mean(follow) == pytest.approx(0.5, abs=0.1)


def test_a_kneser_ney_model_is_a_distribution():
    rng = np.random.default_rng(0)
    model = KneserNey([rng.integers(0, 5, 300), rng.integers(0, 3, 50)], 5, 3)
    for context in ([], [0], [1, 2], [4, 4]):
        grams = [np.array([*context, symbol], np.uint32).tobytes() for symbol in range(5)]
        assert sum(map(model.probability, grams)) == pytest.approx(1)


def test_bits_of_an_untrained_model_are_those_of_its_vocabulary(tokenizer):
    torch.manual_seed(0)
    encoder = TextEncoder("tiny_transformer", tokenizer, 32, causal=True)
    torch.nn.init.zeros_(encoder.network.embedding.weight)
    text = sentences(0) + sentences(1)
    expected = len(encode(tokenizer, text)) * np.log2(tokenizer.get_vocab_size())
    with torch.no_grad():
        assert next_token_bits(encoder, text) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_an_encoder_comes_back_from_its_files_with_the_same_embeddings(tmp_path, tokenizer, causal):
    torch.manual_seed(0)
    encoder = TextEncoder("tiny_transformer", tokenizer, 32, causal)
    texts = ["", "the sea", sentences(1)]
    encoder.save(tmp_path / "encoder.safetensors")
    from unlabeled.encoders import load_encoder

    features = encoder.embed(texts)
    assert features.shape == (3, 128) and features.dtype == np.float32 and np.isfinite(features).all()
    assert np.array_equal(load_encoder(tmp_path).embed(texts), features)


def test_what_is_no_text_is_refused(tokenizer):
    encoder = TextEncoder("tiny_transformer", tokenizer, 32, causal=True)
    with pytest.raises(DataError, match="received a int as text 1, expected a list of strings"):
        encoder.embed(["a", 1])


def test_an_encoder_says_what_data_are_not_for_it(tokenizer):
    texts, images = ["a text"], np.zeros((1, 1, 8, 8), np.uint8)
    encoder = TextEncoder("tiny_transformer", tokenizer, 32, causal=True)
    assert encoder.misfit(texts) is None and encoder.misfit(images) == "is of texts, and today's data are none"
    of_images = ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.5,)))
    assert of_images.misfit(images) is None and of_images.misfit(texts) == "is of images, and today's data are none"


def test_unknown_keys_and_ranges_are_refused():
    with pytest.raises(ConfigError, match="ingestion.vocabulary: received 3"):
        TextIngestion.model_validate({"vocabulary": 3})
    with pytest.raises(ConfigError, match="expected ingestion.path to be set for the source text"):
        TextIngestion.model_validate({"source": "text"})
    with pytest.raises(ConfigError, match="pretraining.encoder: received 'resnet18'"):
        TextPretraining.model_validate({"encoder": "resnet18"})


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_the_same_texts_teach_the_same_tokenizer(kind):
    texts = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs"] * 3
    config = TextIngestion(tokenizer=kind, vocabulary=300).model_copy(update={"vocabulary": None})
    assert len({train_tokenizer(texts, config).to_str() for _ in range(5)}) == 1


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_text_without_blanks_is_learned_in_pieces_and_encoded_whole(kind):
    letters = np.random.default_rng(0).choice(list("abcdefgh"), 100_000)
    text = "".join(letters)
    began = time.process_time()
    tokenizer = train_tokenizer([text], TextIngestion(tokenizer=kind, vocabulary=600))
    assert time.process_time() - began < 5  # half a minute, as one word
    tokens = encode(tokenizer, text)
    assert tokenizer.decode(tokens.tolist()).replace(" ", "") == text


def test_a_document_that_is_too_long_is_quarantined_with_the_key(folder):
    (folder / "long.txt").write_text("no end " * 2000)
    result = ingest(config(folder, max_characters=10_000))
    assert result.quarantine.to_numpy().tolist() == [["long.txt", "longer than ingestion.max_characters=10000"]]
