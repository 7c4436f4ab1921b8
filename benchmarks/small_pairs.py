"""Measures how CLIP's batch size and learning rate fare on a few dozen captioned photographs, on validation images.

    python benchmarks/small_pairs.py FOLDER 44 16,0.0005 32,0.001

FOLDER holds photographs in folders of classes; a caption is "a photograph of" and the class. The further arguments are
the number of pairs to train on, and batch sizes with their learning rates.
"""

import csv
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from unlabeled.images.crops import cache_views
from unlabeled.pairs.captions import cutting, pack_captions
from unlabeled.pairs.config import PairAugmentation, PairPretraining, PairsIngestion
from unlabeled.pairs.ingest import ingest
from unlabeled.pairs.pretrain import pretrain_encoder

HELD_OUT, EPOCHS, SEEDS = 57, 20, 3


def main(photographs: Path, count: int, settings: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, stored = Path(folder, "pairs"), Path(folder, "stored")
        captioned(photographs, root, count)
        config = PairsIngestion(source="pairs", path=str(root), image_size=48, test_fraction=0)
        made = ingest(config, stored)
        words, recipe = Tokenizer.from_str(made.tokenizer), PairAugmentation()
        views = cache_views(made.images, made.manifest.sha256.tolist(), recipe, stored)
        captions = pack_captions(made.manifest.text.tolist(), cutting(words, recipe.caption_length))
        data = made.images, views, captions, made.manifest, words, made.summary
        for setting in settings:
            size, rate = setting.split(",")
            for seed in range(SEEDS):
                training = PairPretraining(
                    batch_size=int(size),
                    learning_rate=float(rate),
                    epochs=EPOCHS,
                    weight_decay=0.1,
                    warmup_epochs=1,
                    clip_gradient=1.0,
                    seed=seed,
                    monitor_every=EPOCHS,  # only at the end: two looks at a collapse would stop the training
                )
                last = pretrain_encoder("clip", *data, training, recipe)[1][-1]
                told = f"spread {last['caption_embedding_std']:.3f}, recall at 1 {last['validation_recall_at_1']:.3f}"
                print(f"{count} pairs, {setting}, seed {seed}: {told}", flush=True)


def captioned(photographs: Path, root: Path, count: int) -> None:
    """Copies photographs at random, with a metadata.csv of captions and splits."""
    root.mkdir()
    files = sorted(photographs.rglob("*.jpg"))
    chosen = np.random.default_rng(0).permutation(len(files))[: count + HELD_OUT]
    rows = [["file_name", "text", "split"]]
    for number, file in enumerate(files[each] for each in chosen):
        shutil.copy(file, root / f"{number}.jpg")
        split = "train" if number < count else "validation"
        rows.append([f"{number}.jpg", f"a photograph of {file.parent.name}", split])
    with (root / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
