"""Embeddings and classes of image files, by the files beside this one. Needs numpy, onnxruntime and Pillow only.

    python use.py photo.jpg another.png

Writes a line of JSON an image: its path, its embedding and, where there is a probe, its class and the probabilities.
"""

import json
import sys
from pathlib import Path

import numpy as np
from decode import decode_alone  # decode.py, beside this file  # ty: ignore[import-not-found]
from onnxruntime import InferenceSession

HERE = Path(__file__).parent
SPEC = json.loads((HERE / "encoder.json").read_text())
SESSION = InferenceSession(HERE / "encoder.onnx", providers=["CPUExecutionProvider"])


def use(files: list[str]) -> dict[str, np.ndarray]:
    """Returns `embedding`, float32 (N, D), and, where a probe was exported, `probability`, float32 (N, classes)."""
    how = SPEC["image_size"], SPEC["channels"], SPEC["pixel_range"], SPEC.get("resize", "crop")
    images = [decode_alone(Path(file).read_bytes(), *how) for file in files]
    names = [output.name for output in SESSION.get_outputs()]
    answers = map(np.asarray, SESSION.run(names, {"images": np.stack(images)}))
    return dict(zip(names, answers, strict=True))


def main() -> None:
    for file in sys.argv[1:]:
        answer = {name: rows[0].tolist() for name, rows in use([file]).items()}
        if probability := answer.get("probability"):
            answer["class"] = SPEC["classes"][int(np.argmax(probability))]
        print(json.dumps({"path": file, **answer}))


if __name__ == "__main__":
    main()
