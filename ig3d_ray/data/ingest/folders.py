"""Images in class folders, by number or by name, with or without folders for the splits."""

from collections import Counter
from pathlib import Path

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.ingest.layouts import Entry, Layout, folder_class, image_files
from ig3d_ray.errors import Ig3dError
from ig3d_ray.types import Split

SPLIT_FOLDERS: dict[str, Split] = {
    **dict.fromkeys(("train", "train_set", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation", "val_set", "publictest"), "dev"),
    **dict.fromkeys(("test", "test_set", "testing", "val_clean", "privatetest"), "test"),
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
    layout, found = Layout(), []
    for file in image_files(root):
        folders = list(file.relative_to(root).parts[:-1])
        words = [name for name in folders if name.lower() in SPLIT_FOLDERS]
        classes = [
            name for name in folders if name.lower() not in SPLIT_FOLDERS and folder_class(name, about) is not None
        ]
        place = file.relative_to(root).as_posix()
        if not classes:
            layout.skipped.append((place, "in no folder of a class"))
            continue
        found.append((file, words[0] if words else "", classes[-1]))
    if not found:
        names = ", ".join(about.class_names[:10])
        example = f", such as {layout.skipped[0][0]}" if layout.skipped else ""
        raise Ig3dError(f"{root}: no image lies in a folder of a class ({names}, or 0, 1, ...){example}")
    first = _first_number(root, {name for _, _, name in found}, about)
    splits = _splits({word for _, word, _ in found if word})
    repeated = Counter((word, file.stem) for file, word, _ in found)
    unique = all(count == 1 for count in repeated.values())
    if not unique:
        layout.notes.append("names of files repeat in folders of classes: ids are whole paths")
    for file, word, folder in found:
        short = f"{word}/{file.stem}" if word else file.stem
        sample_id = short if unique else file.relative_to(root).with_suffix("").as_posix()
        number = folder_class(folder, about)
        if number is not None and folder[:1].isdigit():
            number -= first
        layout.take(Entry(sample_id, splits.get(word), file, number), about)
    read = ", ".join(f"{word or 'no split folder'} as {split or 'train'}" for word, split in splits.items())
    layout.notes.append(f"folders: {read}" if read else "no folders of splits: dev and test are drawn from all")
    return layout


def _first_number(root: Path, folders: set[str], about: Dataset) -> int:
    """The number of the first class folder, 0 or 1."""
    numbers = {folder_class(name, about) for name in folders if name[:1].isdigit()}
    if not numbers or 0 in numbers:
        return 0
    if about.width in numbers:
        return 1
    raise Ig3dError(
        f"{root}: folders {', '.join(sorted(folders)[:10])}: neither 0 nor {about.width} is there, so they may count"
        " from 0 or from 1; name them as the classes"
    )


def _splits(words: set[str]) -> dict[str, Split]:
    splits = {word: SPLIT_FOLDERS[word.lower()] for word in sorted(words)}
    if "test" not in splits.values():
        splits = {word: "test" if split == "dev" else split for word, split in splits.items()}
    return splits
