"""Matches sample ids that are written differently: suffixes, folders, slashes, case, Unicode forms."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ig3d_ray.data.images import IMAGE_SUFFIXES

_SUFFIXES = [re.escape(suffix) for suffix in sorted({*IMAGE_SUFFIXES, ".npy", ".json", ".txt"})]
SUFFIX = re.compile(f"({'|'.join(_SUFFIXES)})$", re.IGNORECASE)
SMALLEST_SHARE = 0.95
NOT_FOUND = -1


def _plain(one: str) -> str:
    return re.sub(r"/{2,}", "/", unicodedata.normalize("NFC", one).replace("\\", "/")).removeprefix("./").strip("/")


def _without_suffix(one: str) -> str:
    return SUFFIX.sub("", _plain(one))


def _aligned(one: str) -> str:
    return _without_suffix(one).removesuffix("_aligned")


def _name(one: str) -> str:
    return _aligned(one).rsplit("/", 1)[-1]


# From the strictest to the loosest: what is not compared.
FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("as they are", str),
    ("with / for \\ and in one Unicode form", _plain),
    ("without the suffix of the file", _without_suffix),
    ("without the suffix of the file, in lower case", lambda one: _aligned(one).casefold()),
    ("by the name of the file, without its folders", _name),
    ("by the name of the file, without its folders, in lower case", lambda one: _name(one).casefold()),
)


_PARTS = {
    **dict.fromkeys(("train", "train_set", "training"), "train"),
    **dict.fromkeys(("val", "val_set", "valid", "validation", "dev", "val_clean", "publictest"), "val"),
    **dict.fromkeys(("test", "test_set", "testing", "privatetest"), "test"),
}


def part_of_id(one: str) -> str:
    """The split that a folder of an id names, `train`, `val` or `test`; empty if none does.

    Args:
        one: an id, such as train/123.
    """
    return next((_PARTS[word] for word in _plain(one).lower().split("/")[:-1] if word in _PARTS), "")


@dataclass(frozen=True)
class Match:
    """How ids of a file match those that are known.

    Attributes:
        place: `[N]` int64, the known id of each; -1 where there is none.
        how: what was not compared; empty if the ids are the same as they are.
        ambiguous: forms that would match more, but where several ids become one.
    """

    place: np.ndarray
    how: str
    ambiguous: str

    @property
    def share(self) -> float:
        """Share of the new ids that are known."""
        return float((self.place >= 0).mean()) if len(self.place) else 1.0


def repeats(ids: np.ndarray) -> bool:
    """Whether an id is there twice.

    Args:
        ids: `[N]` str.
    """
    order = np.argsort(ids)
    # In pieces: a sorted copy of the ids would take as much again.
    pieces = (order[start : start + 1 + (1 << 16)] for start in range(0, len(order), 1 << 16))
    return any(bool((ids[some[1:]] == ids[some[:-1]]).any()) for some in pieces)


def match_ids(known: np.ndarray, new: np.ndarray) -> Match:
    """Match ids in the strictest form in which 95 % are known and no two of either side become one.

    Args:
        known: `[K]` str, unique.
        new: `[N]` str; may repeat.
    """
    best, ambiguous = Match(np.full(len(new), NOT_FOUND, np.int64), "", ""), ""
    distinct = list(dict.fromkeys(new.tolist()))
    for name, form in FORMS:
        keys = {form(one): index for index, one in enumerate(known.tolist())}
        theirs = {one: form(one) for one in distinct}
        if len(keys) < len(known) or len(set(theirs.values())) < len(distinct):
            ambiguous = ambiguous or name
            continue
        place = np.array([keys.get(theirs[one], NOT_FOUND) for one in new.tolist()], np.int64)
        for row, (one, index) in enumerate(zip(new.tolist(), place.tolist(), strict=True)):
            # An image of the train folder is never one of the validation folder that has its name.
            if index >= 0 and part_of_id(one) and part_of_id(str(known[index])) not in ("", part_of_id(one)):
                place[row] = NOT_FOUND
        found = Match(place, "" if form is str else name, "")
        if found.share > best.share:
            best = found
        if best.share >= SMALLEST_SHARE:
            return best
    return Match(best.place, best.how, ambiguous)


def unlike(known: np.ndarray, new: np.ndarray) -> str:
    """Why ids may not match, with both forms, for a message.

    Args:
        known: `[K]` str.
        new: `[n]` str, those that don't match; at least one.
    """
    theirs = str(new[0])
    stripped = {_name(one).lstrip("0") or "0": one for one in known.tolist()}
    twin = stripped.get(_name(theirs).lstrip("0") or "0")
    if twin is not None and _name(twin) != _name(theirs):
        return f"{theirs[:60]!r} here, {twin[:60]!r} there: were leading zeros lost (read ids as text)?"
    return f"{theirs[:60]!r} here, {str(known[0])[:60]!r} there"
