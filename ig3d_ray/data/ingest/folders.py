"""Images in class folders, by number or by name, with or without folders for the splits."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.ingest.layouts import Entry, Layout, first_number, folder_class, image_files, is_text, named_class
from ig3d_ray.errors import Ig3dError
from ig3d_ray.types import Split

SPLIT_FOLDERS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation", "valset", "publictest"), "dev"),
    **dict.fromkeys(("test", "testing", "testset", "privatetest", "eval", "evaluation"), "test"),
}


def read_folders(root: Path, about: Dataset) -> Layout:
    """The samples of a folder of class folders, or of split folders of class folders, or the other way round.

    Without a test folder, the validation folder is the test split, as publications report on it. A sample's id is the
    name of its file, after the name of its split folder where there is one; where such names repeat, the whole path.

    Args:
        root: the folder.
        about: whose classes.

    Raises:
        Ig3dError: it holds no images, or none lies in a folder of a class.
    """
    layout = Layout()
    found: list[tuple[Path, str, str]] = []
    strange: set[str] = set()
    for file in image_files(root):
        folders, place = file.relative_to(root).parts[:-1], file.relative_to(root).as_posix()
        words = [name for name in folders if split_word(name, about)]
        classes, why = _class_folder([name for name in folders if name not in words], about)
        if not is_text(file):
            layout.skipped.append((ascii(file.name), "its name is not UTF-8"))
        elif classes is None:
            layout.skipped.append((place, why))
        else:
            found.append((file, words[0] if words else "", classes))
            strange |= {folders[0]} if not words and folders[0] != classes else set()
    if strange and any(word for _, word, _ in found):
        known = ", ".join(sorted({word for _, word, _ in found if word}))
        raise Ig3dError(
            f"{root}: folder {sorted(strange)[0]!r} beside {known}: which split is it? call it train, dev or test"
        )
    if not found:
        names = ", ".join(about.class_names[:10])
        example = f", such as {layout.skipped[0][0]}" if layout.skipped else ""
        raise Ig3dError(f"{root}: no image lies in a folder of a class ({names}, or 0, 1, ...){example}")
    first = first_number(root, {int(name) for _, _, name in found if name.isdecimal()}, about)
    splits = _splits({word for _, word, _ in found if word}, about)
    repeated = Counter((word, file.stem) for file, word, _ in found)
    unique = all(count == 1 for count in repeated.values())
    if not unique:
        layout.notes.append("names of files repeat in folders of classes: ids are whole paths")
    ids: set[str] = set()
    for file, word, folder in found:
        short = f"{word}/{file.stem}" if word else file.stem
        sample_id = short if unique else file.relative_to(root).with_suffix("").as_posix()
        if sample_id in ids:
            layout.skipped.append((file.relative_to(root).as_posix(), "another image has the same name"))
            continue
        ids.add(sample_id)
        number = folder_class(folder, about)
        number = number - first if number is not None and folder.isdecimal() else number
        layout.take(Entry(sample_id, splits.get(word), file, number), about)
    if about.group:
        layout.notes.append(
            f"folders don't have the {about.group}: splits may share one; `ig3d data table` takes a column"
        )
    read = ", ".join(f"{word or 'no split folder'} as {split or 'train'}" for word, split in splits.items())
    layout.notes.append(f"folders: {read}" if read else "no folders of splits: dev and test are drawn from all")
    return layout


def split_word(name: str, about: Dataset) -> Split | None:
    """The split that a folder's name has a word of (`Train_Aligned_Faces`, `testset`); None if it has none.

    Args:
        name: of the folder.
        about: whose classes are no splits.
    """
    if named_class(name, about) is not None:
        return None
    words = [name.lower(), *re.split(r"[\W_]+", name.lower())]
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), None)


def _class_folder(folders: Sequence[str], about: Dataset) -> tuple[str | None, str]:
    """The folder that gives the class, or None and why there is none: names go before numbers."""
    for kind in (
        [name for name in folders if named_class(name, about) is not None],
        [name for name in folders if name.isascii() and name.isdecimal()],
    ):
        if len({folder_class(name, about) for name in kind}) > 1:
            return None, "in folders of two classes"
        if kind:
            return kind[0], ""
    return None, "in no folder of a class"


def _splits(words: set[str], about: Dataset) -> dict[str, Split]:
    splits = {word: split for word in sorted(words) if (split := split_word(word, about)) is not None}
    if "test" not in splits.values():
        splits = {word: "test" if split == "dev" else split for word, split in splits.items()}
    return splits
