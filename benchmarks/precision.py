"""Training in fp32 and in bf16 on a processor, the same epochs side by side: writes benchmarks/precision.md.

`python -m benchmarks.precision`; four minutes on one core with AVX-512 BF16 or AMX. Drawn faces; with `--photographs
STORAGE` also FER2013's, as `make real-faces` leaves them in real-faces/whole.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.models.build import build_network
from ig3d_ray.models.cnn.spec import CnnSpec
from ig3d_ray.models.inputs import Feeding
from ig3d_ray.models.precision import is_faster_in_bf16
from ig3d_ray.models.recipe import TrainingRecipe
from ig3d_ray.storage.store import Store
from ig3d_ray.training.run_data import RunData
from ig3d_ray.training.state import Epoch
from ig3d_ray.training.trainer import Trainer

PAGE = Path(__file__).with_name("precision.md")
RECIPE = TrainingRecipe(patience=None, schedule="cosine", base_lr=1e-5, max_lr=2e-3, weight_decay=1e-2, augment="rafdb")


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        seconds: of processor time.
        curve: dev accuracy of each epoch.
    """

    seconds: float
    curve: list[float]


def train(data: RunData, spec: CnnSpec) -> Trained:
    """Train one member.

    Args:
        data: the data set.
        spec: the member's.
    """
    about = datasets.dataset(data.samples.dataset)
    torch.manual_seed(spec.seed)
    network = build_network(spec, about, 0)
    parts = data.labeled(spec, "train"), data.labeled(spec, "dev")
    trainer = Trainer(network, *parts, spec.stages[0], spec.seed, len(about.class_names), "accuracy")
    started = time.process_time()

    def ignore(_: Epoch, __: object) -> None:
        return None

    history = trainer.run(ignore)
    return Trained(time.process_time() - started, [float(row["dev_accuracy"]) for row in history])


def compare(store: Store, samples: Samples, spec: CnnSpec, seeds: int) -> list[str]:
    """Rows of the table: precision, seconds of an epoch, best dev accuracy over seeds, the first seed's curve.

    Args:
        store: with the images.
        samples: of the data set.
        spec: whose precision varies.
        seeds: trainings of each.
    """
    data, rows, first = RunData(store, samples, Feeding(memory=8 * 2**30)), [], 0.0
    train(data, spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"epochs": 1})}))
    for precision in ("fp32", "bf16"):
        recipe = spec.recipe.model_copy(update={"precision": precision})
        done = [train(data, spec.model_copy(update={"recipe": recipe, "seed": seed})) for seed in range(seeds)]
        each = sum(one.seconds for one in done) / seeds / recipe.epochs
        first = first or each
        best = [max(one.curve) for one in done]
        curve = ", ".join(f"{value:.3f}" for value in done[0].curve)
        what = f"{samples.dataset}, `{spec.architecture}`, {spec.image_size} px"
        rows.append(
            f"| {what} | {precision} | {each:.2f} s | {first / each:.2f} "
            f"| {np.mean(best):.4f} ± {np.std(best):.4f} | {curve} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, help="storage with fer2013")
    words = parser.parse_args()
    torch.set_num_threads(1)
    network = build_network(CnnSpec(), datasets.dataset("faces"), 0).network
    if not is_faster_in_bf16(network, torch.device("cpu")):
        raise SystemExit("this processor has no bf16 products")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        samples = make_faces(store, samples=4000, seed=0)
        spec = CnnSpec(width=16, image_size=64, recipe=RECIPE.model_copy(update={"epochs": 10}))
        rows = compare(store, samples, spec, 3)
    if words.photographs is not None:
        store = Store(str(words.photographs))
        spec = CnnSpec(width=32, image_size=48, recipe=RECIPE.model_copy(update={"epochs": 4}))
        rows += compare(store, load_samples(store, "fer2013", only=()), spec, 1)
    PAGE.write_text(TEXT.format(rows="\n".join(rows)))
    print(f"{PAGE}: written")


TEXT = """# bf16 on a processor

Written by `python -m benchmarks.precision` on one core with AVX-512 BF16: the same trainings in fp32 and in bf16
autocast, which `precision: auto` chooses there for image networks without depthwise convolutions. Seconds are of
processor time for one epoch; accuracies are the best on dev, mean and standard deviation over three seeds (one for
photographs); scoring is in fp32 for both.

| data and network | precision | an epoch | speedup | best dev accuracy | dev accuracy by epoch, first seed |
|---|---|---|---|---|---|
{rows}
"""


if __name__ == "__main__":
    main()
