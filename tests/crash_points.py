"""Commands killed before every change that they make to the disk, and run again: what is left differs in nothing.

python tests/crash_points.py FOLDER [AT_MOST]     prints a table as JSON; AT_MOST points of each command, evenly spread

A hook sees each file that is opened for writing and each rename, link, removal and folder that is made or deleted below
the working folder, and each time that a file's content is forced to the disk, and ends the process before it. The
commands run in forked processes, so that imports are paid once.
"""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

KILLED, WRITING = 9, os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"}
# Its content has the time that a search took.
VARIES = {"run.json"}
# What a command that removes says where nothing is left to remove.
GONE = ("no file, folder or search", "no member of", "has nothing of it")


def main(words: list[str]) -> int:
    """The command line in this process: its exit code."""
    from ig3d_ray.cli.app import main as command

    sys.argv = ["ig3d", *words]
    try:
        command()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def in_child(folder: Path, work: Callable[[], int]) -> tuple[int, str]:
    """Run in a forked process with another working folder: its exit code, and what it wrote to stderr."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            os.chdir(folder)
            errors = io.StringIO()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
                code = work()
            os.write(write, errors.getvalue()[-2000:].encode())
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode()[:2000])
        os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as said:
        message = said.read().decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), message


def counting(folder: Path, words: list[str], kill_at: int | None, counter: Path) -> int:
    """Run a command that is killed before its change number `kill_at`; the number of changes is left in a file."""
    root, seen = str(folder), 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, _, flags = args
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif event in CHANGES:
            path = args[0]
        else:
            return
        if isinstance(path, int) or not os.path.abspath(os.fsdecode(str(path))).startswith(root):
            return
        if seen == kill_at:
            os._exit(KILLED)
        seen += 1

    def forced(number: int) -> None:
        nonlocal seen
        if os.path.abspath(os.readlink(f"/proc/self/fd/{number}")).startswith(root):
            if seen == kill_at:
                os._exit(KILLED)
            seen += 1
        to_disk(number)

    sys.addaudithook(hook)
    to_disk, os.fsync = os.fsync, forced
    code = run(words)
    total, root = seen, "/nowhere"
    counter.write_text(str(total))
    return code


def run(words: list[str]) -> int:
    """The command, in this process."""
    return extract_here(words) if words[0] == "extract" else main(words)


def content(folder: Path) -> dict[str, bytes]:
    """Every file and folder below a folder."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files |= {f"{p.relative_to(folder)}/": b"" for p in folder.rglob("*") if p.is_dir()}
    return {name: b"" if Path(name).name in VARIES else data for name, data in files.items()}


def prepare(folder: Path) -> None:
    """What the commands start from: images, tables, search spaces."""
    rng = np.random.default_rng(0)
    (folder / "aligned").mkdir(parents=True)
    lines, ids = [], []
    for split in ("train", "test"):
        for row in range(21):
            name = f"{split}_{row:05d}"
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "aligned" / f"{name}_aligned.jpg")
            lines.append(f"{name}.jpg {row % 7 + 1}\n")
            ids.append(name)
    (folder / "aligned" / "train_99999_aligned.jpg").write_bytes(b"broken")
    lines.append("train_99999.jpg 1\n")
    (folder / "list.txt").write_text("".join(lines))
    np.savez(folder / "emoca.npz", sample_id=np.array(ids), emoca=rng.normal(size=(len(ids), 334)).astype(np.float32))
    truth = np.arange(60) % 7
    for name in ("a", "b"):
        scores = rng.normal(size=(60, 7)) + 2 * np.eye(7)[truth]
        frame = pd.DataFrame(scores, columns=[f"logit_{c}" for c in range(7)])
        frame.assign(sample_id=[f"s{row:02d}" for row in range(60)], label=truth).to_csv(
            folder / f"{name}.csv", index=False
        )
    rows = []
    for split in ("train", "test"):
        for row in range(21):
            image = folder / "by_class" / split / str(row % 7 + 1) / f"{split}{row}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "aligned" / f"{split}_{row:05d}_aligned.jpg", image)
            rows.append((str(image.relative_to(folder)), f"c{row % 7}", split))
    # A copy within a split, and one across.
    shutil.copy(image, image.with_name("copy.jpg"))
    shutil.copy(image, folder / "by_class" / "train" / "7" / "copy.jpg")
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(folder / "table.csv", index=False)
    (folder / "mine_r.yaml").write_text("name: crash_r\ngroups: {a: 2, b: 3}\nsubsets: {full: [a, b]}\n")
    (folder / "mine.yaml").write_text("name: crash_mine\nclasses: [happy, sad]\n")
    (folder / "space.yaml").write_text(
        "dataset: rafdb\nobjective: accuracy\nprotocol: {kind: cross_fitted}\n"
        "pool: [{kind: imported, name: a, view: 2d}, {kind: imported, name: b, view: 3d}]\n"
        "fusion: {strategies: [mean, weighted], spaces: [logits]}\nsearch: {budget: 5}\n"
    )


IMPORT = [
    "import",
    "predictions",
    "FILE",
    "--dataset",
    "rafdb",
    "--storage",
    "runs",
    "--member",
    "NAME",
    "--view",
    "VIEW",
]


def imported(name: str, view: str) -> list[str]:
    """The command that imports a member."""
    places = {"FILE": f"{name}.csv", "NAME": name, "VIEW": view}
    return [places.get(word, word) for word in IMPORT]


def make_members(folder: Path) -> int:
    """Two networks of one epoch on drawn faces, trained without Ray."""
    from trained import quickly_trained

    from ig3d_ray.config.search_space import SearchSpace
    from ig3d_ray.data.synthetic.faces import make_faces
    from ig3d_ray.models.inputs import Feeding
    from ig3d_ray.models.spec import fingerprint
    from ig3d_ray.storage.store import Store
    from ig3d_ray.training.publish import publish

    store = Store(str(folder / "runs"))
    samples = make_faces(store, samples=200, seed=3)
    pool = [{"kind": "cnn", "width": width, "image_size": 32, "recipe": {"epochs": 1}} for width in (4, 6)]
    content = {"dataset": "faces", "objective": "accuracy", "pool": pool, "search": {"budget": 5}}
    space = SearchSpace.model_validate(content)
    for spec in space.trainable():
        network, history = quickly_trained(store, samples, spec)
        publish(store, samples, fingerprint("faces", samples.fingerprint, spec), spec, network, history, Feeding())
    (folder / "space.yaml").write_text(json.dumps(content))
    return 0


def make_weights(folder: Path) -> int:
    """A state dict to start from."""
    import torch

    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4)}, folder / "start.pt")
    return 0


def make_checkpoint(folder: Path) -> int:
    """A published 3D classifier's file."""
    import torch

    from ig3d_ray.models.mlp3d.network import Mlp3d

    torch.manual_seed(0)
    torch.save(Mlp3d(334, 10, width=8).state_dict(), folder / "published.pth")
    return 0


def make_affectnet(folder: Path) -> int:
    """AffectNet as it is published, with an image that doesn't decode."""
    from publisher_files import affectnet

    affectnet(folder / "affectnet")
    (folder / "affectnet" / "train_set" / "images" / "3.jpg").write_bytes(b"broken")
    return 0


def make_images(folder: Path) -> int:
    """Four images in two packs, one of which doesn't decode, and an encoder's file."""
    import pyarrow as pa
    from trained import smirk_checkpoint

    from ig3d_ray.data.images import ImageSet, pack_images
    from ig3d_ray.data.samples import Samples
    from ig3d_ray.data.synthetic.faces import make_faces
    from ig3d_ray.storage.store import Store

    drawn = Store(str(folder / "drawn"))
    table = make_faces(drawn, samples=200, seed=3).table.slice(0, 4)
    images = ImageSet(drawn, Samples("faces", table), 64)
    encoded = [images.encoded(row)[0] for row in range(4)]
    encoded[1] = encoded[1][:100]
    store, ids = Store(str(folder / "runs")), table["sample_id"].to_pylist()
    places: dict[str, str] = {}
    for rows in ((0, 1), (2, 3)):
        places |= pack_images(store, "faces", {ids[row]: encoded[row] for row in rows})
    table = table.drop_columns(["image", "emoca", "smirk"]).append_column("image", pa.array(places.values()))
    Samples("faces", table).save(store)
    shutil.rmtree(folder / "drawn")
    smirk_checkpoint(folder)
    return 0


def extract_here(words: list[str]) -> int:
    """`ig3d extract` with the pieces computed in this process, not by Ray's: all that it writes is seen."""
    from ig3d_ray.models.face3d.extraction import Extraction, PieceWorker
    from ig3d_ray.workflow import extract

    def all_pieces(extraction: Extraction, *_: object) -> None:
        work = PieceWorker(extraction)
        for piece in extraction.missing():
            work(piece)

    extract._do = all_pieces
    return main(words)


MEMBERS, WEIGHTS, CHECKPOINT = ["(members)"], ["(weights)"], ["(checkpoint)"]
PUBLISHED, IMAGES = ["(affectnet)"], ["(images)"]
PREPARED = {
    MEMBERS[0]: make_members,
    WEIGHTS[0]: make_weights,
    CHECKPOINT[0]: make_checkpoint,
    PUBLISHED[0]: make_affectnet,
    IMAGES[0]: make_images,
}
STORED = ["--storage", "runs"]
RAFDB = ["data", "rafdb", "--images", "aligned", "--labels", "list.txt", *STORED]
FEATURES = ["data", "features", "--dataset", "rafdb", "--representation", "emoca", "--from", "emoca.npz", *STORED]
ANNOTATIONS = [
    word for part in ("train", "val") for word in ("--annotations", f"affectnet/{part}_set_annotation_without_lnd.csv")
]
SEARCH = ["search", "space.yaml", *STORED]
BOTH = [imported("a", "2d"), imported("b", "3d")]
# Name -> the commands before, and the one that is killed.
COMMANDS: dict[str, tuple[list[list[str]], list[str]]] = {
    "data rafdb": ([], RAFDB),
    "data affectnet": (
        [PUBLISHED],
        ["data", "affectnet", "--images", "affectnet", *ANNOTATIONS, "--duplicates", "keep", *STORED],
    ),
    "data features": ([RAFDB], FEATURES),
    "import checkpoint": (
        [RAFDB, FEATURES, CHECKPOINT],
        ["import", "checkpoint", "published.pth", "--as", "mlp3d", "--dataset", "rafdb", *STORED],
    ),
    "extract": (
        [IMAGES],
        ["extract", "--encoder", "smirk", "--checkpoint", "SMIRK_em1.pt", "--dataset", "faces", *STORED],
    ),
    "data folder": (
        [],
        ["data", "folder", "by_class", "--dataset", "rafdb", "--duplicates", "drop", *STORED],
    ),
    "data table": (
        [],
        ["data", "table", "table.csv", "--dataset", "crash_own", "--classes", "c0,c1,c2,c3,c4,c5,c6", *STORED],
    ),
    "data representation": ([], ["data", "representation", "mine_r.yaml", *STORED]),
    "data check": ([RAFDB], ["data", "check", "--dataset", "rafdb", "--list-duplicates", "pairs.csv", *STORED]),
    "import weights": ([WEIGHTS], ["import", "weights", "start.pt", "--name", "start", *STORED]),
    "data create": ([], ["data", "create", "mine.yaml", *STORED]),
    "import predictions": (BOTH[:1], BOTH[1]),
    "import labels": ([], ["import", "labels", "a.csv", "--dataset", "rafdb", *STORED]),
    "search": (BOTH, SEARCH),
    "predict": ([*BOTH, SEARCH], ["predict", "SPEC", "--out", "preds.parquet"]),
    "report": ([*BOTH, SEARCH], ["report", "SPEC"]),
    "report files": (
        [*BOTH, SEARCH],
        ["report", "SPEC", "--out", "page.html", "--table", "scores.md"],
    ),
    "predict images": (
        [MEMBERS, SEARCH],
        ["predict", "SPEC", "--images", "aligned", "--missing", "skip", "--out", "images.csv"],
    ),
    "rm member": (BOTH, ["rm", "member", "a", "--dataset", "rafdb", "--yes", *STORED]),
    "rm dataset": ([*BOTH, SEARCH], ["rm", "dataset", "rafdb", "--yes", *STORED]),
    "export": ([MEMBERS, SEARCH], ["export", "SPEC", "--out", "bundle"]),
    "data faces": ([], ["data", "faces", "--samples", "200", *STORED]),
    "rm search": ([*BOTH, SEARCH], ["rm", "search", "SPEC", "--yes", *STORED]),
}


def with_spec(folder: Path, words: list[str]) -> list[str]:
    """A command whose SPEC is the folder of the one search."""
    found = sorted(folder.glob("runs/searches/*/*"))
    return [str(found[0].relative_to(folder)) if word == "SPEC" else word for word in words]


def points_of(place: Path, before: list[list[str]], words: list[str], at_most: int) -> dict[str, object]:
    """Kill a command at its points and run it again: how many there are, and what went wrong at which."""
    start, counter = place / "start", place / "count"
    prepare(start)
    for command in before:
        code, message = in_child(
            start, lambda command=command: PREPARED.get(command[0], lambda _, c=command: main(c))(start)
        )
        assert code == 0, message
    words = with_spec(start, words)
    whole = place / "whole"
    shutil.copytree(start, whole)
    code, message = in_child(whole, lambda: counting(whole, words, None, counter))
    assert code == 0, message
    wanted, total = content(whole), int(counter.read_text())
    wrong: dict[str, object] = {}
    for point in sorted({round(i * total / min(at_most, total)) for i in range(min(at_most, total))}):
        again = place / f"killed-{point}"
        shutil.copytree(start, again)
        code, message = in_child(again, lambda again=again, point=point: counting(again, words, point, counter))
        assert code == KILLED, (point, code, message)
        code, message = in_child(again, lambda: run(words))
        gone = words[0] == "rm" and code == 2 and any(one in message for one in GONE)
        if code != 0 and not gone:
            wrong[str(point)] = f"refused: {message[-300:]}"
        elif (found := content(again)) != wanted:
            other = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            wrong[str(point)] = f"differs: {', '.join(other)[:300]}"
        shutil.rmtree(again)
    return {"points": total, "wrong": wrong}


if __name__ == "__main__":
    os.environ["HOME"] = sys.argv[1]
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else 10**6
    chosen = sys.argv[3:] or list(COMMANDS)
    table = {}
    for name in chosen:
        own = Path(sys.argv[1]).resolve() / name.replace(" ", "-")
        own.mkdir()
        table[name] = points_of(own, *COMMANDS[name], limit)
        print(name, table[name], file=sys.stderr)
    print(json.dumps(table))
