"""Data sets and trainings of the study, through the commands that anyone would use."""

import csv
import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "search_spaces" / "fer2013.yaml"
PARAMETERS = "3ddfa_v2"
SHARES = (0.1, 0.25, 0.5)
"""Of the training faces, for the curve."""


@dataclass(frozen=True)
class Study:
    """Where everything is.

    Attributes:
        source: the folder with faces.zip, params_3ddfa.parquet and their duplicates.
        work: the folder that is written.
        seed: of the splits; the members' seeds follow it.
        seeds: how many trainings of each kind.
    """

    source: Path
    work: Path
    seed: int
    seeds: int

    @property
    def whole(self) -> Path:
        """The storage of all faces."""
        return self.work / "whole"

    @property
    def repeated(self) -> Path:
        """The storage of all faces, split with another seed."""
        return self.work / "another-split"

    def part(self, share: float) -> Path:
        """The storage with a share of the training faces."""
        return self.work / f"share-{share:g}"

    def copies(self, treatment: str) -> Path:
        """The storage of the data set with its duplicates, as they are treated."""
        return self.work / f"duplicates-{treatment}"


def ig3d(*words: str | Path) -> None:
    """Run a command; it prints what it does."""
    print("$ ig3d", *words, flush=True)
    subprocess.run([str(Path(sys.executable).parent / "ig3d"), *map(str, words)], check=True, cwd=ROOT)


def prepare(study: Study) -> None:
    """The data sets: all faces, shares of the training faces, and the faces with their duplicates."""
    faces, both = study.work / "faces", study.work / "faces-and-duplicates"
    if not faces.exists():
        _unpack(study.source / "faces.zip", faces)
        _unpack(study.source / "faces.zip", both)
        _unpack(study.source / "duplicates.zip", both)
    parameters, merged = study.source / "params_3ddfa.parquet", study.work / "params.parquet"
    if not merged.exists():
        tables = [pq.read_table(study.source / name) for name in (parameters.name, "duplicates_3ddfa.parquet")]
        pq.write_table(pa.concat_tables(tables), merged)
    _import(study.whole, faces, parameters, study.seed, "--duplicates", "together")
    _import(study.repeated, faces, parameters, study.seed + 1, "--duplicates", "together")
    for treatment in ("keep", "together"):
        _import(study.copies(treatment), both, merged, study.seed, "--duplicates", treatment)
    samples = load_samples(Store(str(study.whole)), "fer2013")
    for share in SHARES:
        sheet = study.work / f"share-{share:g}.csv"
        write_share(samples, share, study.seed, sheet)
        _import_sheet(study.part(share), sheet, faces, parameters)


def write_share(samples: Samples, share: float, seed: int, file: Path) -> None:
    """A table of all dev and test faces and a share of the training faces, the smaller shares within the larger.

    Args:
        samples: all faces.
        share: in (0, 1).
        seed: of the choice.
        file: CSV that is written.
    """
    about = samples.table.select(["sample_id", "split", "group"]).to_pylist()
    with file.open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["path", "label", "split", "group"])
        for row in about:
            name, split = row["sample_id"], row["split"]
            drawn = int.from_bytes(hashlib.sha256(f"{seed}\0share\0{name}".encode()).digest()[:8]) / 2**64
            if split != "train" or drawn < share:
                folder = name.rpartition("_")[0]
                table.writerow([f"{folder}/{name}.jpg", folder, split, row["group"] or ""])


def train(study: Study) -> None:
    """Train the members of every data set, and search their fusions."""
    ig3d("run", _space(study, "whole"), "--storage", study.whole)
    small = _space(study, "small")
    for place in (*map(study.part, SHARES), study.copies("keep"), study.copies("together")):
        ig3d("run", small, "--storage", place)
    ig3d("run", _space(study, "repeated"), "--storage", study.repeated)


def _space(study: Study, what: str) -> Path:
    """The search space with this study's seeds; `small` has one 2D and one 3D member, `repeated` others of them."""
    content = yaml.safe_load(SPACE.read_text())
    for item in content["pool"]:
        first = study.seeds * (study.seed + (what == "repeated"))
        item["seed"] = [first + number for number in range(study.seeds if isinstance(item.get("seed"), list) else 1)]
    if what != "whole":
        cnn = next(item for item in content["pool"] if item["kind"] == "cnn")
        mlp = next(item for item in content["pool"] if item["kind"] == "mlp3d")
        content["pool"] = [cnn | {"width": 32}, mlp | {"subset": "full"}]
        for item in content["pool"]:
            item["seed"] = item["seed"][:1]
    file = study.work / f"fer2013-{what}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def _unpack(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as content:
        content.extractall(folder)


def _import(storage: Path, faces: Path, parameters: Path, seed: int, *options: str) -> None:
    if (storage / "datasets").exists():
        return
    shutil.rmtree(storage, ignore_errors=True)
    ig3d("data", "folder", faces, "--dataset", "fer2013", "--seed", str(seed), *options, "--storage", storage)
    _features(storage, parameters)


def _import_sheet(storage: Path, sheet: Path, faces: Path, parameters: Path) -> None:
    if (storage / "datasets").exists():
        return
    ig3d("data", "table", sheet, "--images", faces, "--dataset", "fer2013", "--storage", storage)
    _features(storage, parameters)


def _features(storage: Path, parameters: Path) -> None:
    into = ("--dataset", "fer2013", "--storage", storage)
    ig3d("data", "features", "--representation", PARAMETERS, "--from", parameters, *into)
