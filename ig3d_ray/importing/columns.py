"""Which column of a table is what: ids, class scores by name or number, valence and arousal, labels."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.datasets.class_names import SYNONYMS, normalized, synonyms
from ig3d_ray.data.tables.columns import SHOWN, find_column, listed
from ig3d_ray.data.tables.packed import Columns, each
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.tools import ScoreKind

IDS = (
    *("sample_id", "image_id", "image", "image_path", "img", "img_path", "path", "paths", "file", "files"),
    *("filename", "file_name", "filepath", "file_path", "filenames", "image_name", "image_location", "input"),
    *("subDirectory_filePath", "id", "ids", "name", "names", "key", "index", "frame"),
)
TRUTH = (
    "true_label",
    "label_true",
    "y_true",
    "cat_true",
    "ground_truth",
    "gt",
    "gt_label",
    "true",
    "truth",
    "true_class",
)
"""Columns that hold true classes by their names."""
LABELS = (*TRUTH, "target", "targets", "label", "labels")
WEAK_LABELS = ("class", "expression", "emotion")
"""Columns that hold true classes, unless they are the class with the largest score."""
PREDICTED = (
    *(
        "cat_pred",
        "predicted_class",
        "predicted_label",
        "pred_label",
        "pred_class",
        "y_pred",
        "prediction",
        "predicted",
    ),
    *("pred", "predicted_emotion", "pred_emotion", "predicted_expression", "dominant_emotion"),
)
"""Columns of predicted classes, where there are no scores."""
VA_TRUE = (
    ("val_true", "valence_true", "true_valence", "gt_valence", "valence_gt", "label_valence", "valence_label"),
    ("aro_true", "arousal_true", "true_arousal", "gt_arousal", "arousal_gt", "label_arousal", "arousal_label"),
)
_PREDICTED_FORMS = (
    *("{0}_pred", "{1}_pred", "pred_{1}", "pred_{0}", "{1}_hat", "predicted_{1}", "{1}_predicted", "{1}_prediction"),
    *("prediction_{1}", "{1}_output", "model_{1}", "{1}_model", "{1}_score"),
)
VA_PREDICTED = (
    tuple(word.format("val", "valence") for word in _PREDICTED_FORMS),
    tuple(word.format("aro", "arousal") for word in _PREDICTED_FORMS),
)
VA_PLAIN = (("valence", "val"), ("arousal", "aro"))
VA_PLAIN_NAMES = frozenset(name for names in VA_PLAIN for name in names)
_KINDS: dict[str, ScoreKind] = {
    **dict.fromkeys(("logit", "logits", "log_prob", "logprob", "log_probs"), "logits"),
    **dict.fromkeys(("prob", "probs", "probability", "probabilities", "proba", "softmax", "p"), "probabilities"),
    **dict.fromkeys(("percent", "pct"), "percent"),
    **dict.fromkeys(
        ("score", "scores", "pred", "preds", "prediction", "emotion", "expr", "expression", "conf"), "scores"
    ),
}
_STEM = "|".join(sorted(_KINDS, key=len, reverse=True))
_PREFIXED = re.compile(rf"(?P<stem>{_STEM})([_. \-:\[(]+(?P<rest>.+?)[\])]?|(?P<number>\d+))", re.IGNORECASE)
_SUFFIXED = re.compile(rf"(?P<rest>.+?)[_. \-:]+(?P<stem>{_STEM})", re.IGNORECASE)
OPTIONAL = synonyms("contempt") | synonyms("other")
_EXPRESSIONS = frozenset(word for group in SYNONYMS for word in group)
_KEYS = ("valence", "arousal")


@dataclass
class ScoreColumns:
    """Columns of class scores.

    Attributes:
        kind: what their names say that they are.
        called: their common prefix or suffix, for messages.
        by_class: class number -> column.
        others: columns of expressions that are no classes of the data set.
        numbered: columns by number.
        unknown: columns with the same prefix that name no expression.
        doubles: pairs of columns of one class.
    """

    kind: ScoreKind
    called: str
    by_class: dict[int, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    numbered: dict[int, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    doubles: list[tuple[str, str]] = field(default_factory=list)


def find_scores(what: str, columns: Columns, about: Dataset, order_is_known: bool = True) -> ScoreColumns | None:
    """The columns of class scores: by the classes' names or synonyms in any order, or numbered in the data set's order.

    Args:
        what: the file, for messages.
        columns: of the file.
        about: whose classes.
        order_is_known: whether numbered columns are in this order of classes.

    Raises:
        Ig3dError: logits and probabilities are both there; numbered columns are not one per class, or their order is
            unknown; two columns are of one class, or one that must be a class is none.
    """
    groups = _groups(columns, about)
    fit = [group for group in groups if group.numbered or len(group.by_class) >= min(2, about.width)]
    if not fit:
        return None
    kinds = {group.kind for group in fit} & {"logits", "probabilities"}
    if len(kinds) == 2:
        names = " and ".join(f"{group.called}_" for group in fit if group.kind in kinds)
        raise Ig3dError(f"{what}: both {names} columns; keep the logits and remove the others")
    best = max(fit, key=lambda group: max(len(group.by_class), len(group.numbered)))
    if len(best.numbered) > len(best.by_class) and not order_is_known:
        first = next(iter(best.numbered.values()))
        raise Ig3dError(f"{what}: {first!r}, ... are numbered; give --dataset or --classes A,B,... for their order")
    if len(best.numbered) > len(best.by_class):
        return _numbered(what, best, about)
    as_full = [group for group in fit if len(group.by_class) == len(best.by_class) and group is not best]
    if as_full:
        names = " and ".join(repr(next(iter(group.by_class.values()))) for group in (best, as_full[0]))
        raise Ig3dError(f"{what}: two columns for each class, such as {names}; remove those that are no predictions")
    if best.doubles:
        first, second = best.doubles[0]
        raise Ig3dError(f"{what}: columns {first!r} and {second!r} are of one class; remove one, or give --columns")
    _check_absent(what, best, about)
    if best.unknown and len(best.by_class) < about.width:
        raise Ig3dError(
            f"{what}: column {best.unknown[0]!r} names no class of {about.name} ({listed(about.class_names)});"
            " rename or remove it, or give --columns CLASS=COLUMN,..."
        )
    return best


def _check_absent(what: str, found: ScoreColumns, about: Dataset) -> None:
    """Few models lack other classes than contempt and "other": that a column of one is missing is rather a spelling."""
    absent = [one for index, one in enumerate(about.classes) if index not in found.by_class]
    strange = [one.name for one in absent if not one.words & OPTIONAL]
    if strange and not found.unknown:
        raise Ig3dError(
            f"{what}: no column of class {strange[0]!r} beside {listed(found.by_class.values())}; rename the column, or"
            " give --columns CLASS=COLUMN,..."
        )


# Digits of the number of a class.
LONGEST_NUMBER = 6


def _groups(columns: Columns, about: Dataset) -> list[ScoreColumns]:
    groups: dict[str, ScoreColumns] = {}
    for name in columns:
        stem, rest, called = _parsed(name)
        group = groups.setdefault(called, ScoreColumns(_KINDS.get(stem, "scores"), called))
        if not stem and rest.strip().endswith(("%", "(%)")):
            rest = rest.strip().removesuffix("(%)").removesuffix("%")
        index = about.index(rest)
        if rest.isdecimal() and len(rest) <= LONGEST_NUMBER:
            group.numbered[int(rest)] = name
        elif index is not None and not _is_label_word(name):
            group.doubles += [(group.by_class[index], name)] if index in group.by_class else []
            group.by_class[index] = name
        elif normalized(rest) in _EXPRESSIONS:
            group.others.append(name)
        elif (stem or "." in name) and normalized(rest) not in _KEYS and _is_numeric(each(columns, name)):
            group.unknown.append(name)
    return list(groups.values())


def is_expression(word: str) -> bool:
    """Whether a word names an expression, of whatever data set."""
    return normalized(word) in _EXPRESSIONS


def _is_numeric(values: Iterator[Any]) -> bool:
    first = next((str(value) for value in values if str(value).strip()), "")
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan", first.strip()))


def _is_label_word(name: str) -> bool:
    return name.lower() in (*LABELS, *WEAK_LABELS, *IDS, *PREDICTED)


def _parsed(name: str) -> tuple[str, str, str]:
    """A column's stem (`logit`), what follows (`happy`), and how its group is called."""
    found = _PREFIXED.fullmatch(name.strip())
    if found is not None:
        stem = found["stem"].lower()
        return stem, found["rest"] or found["number"], stem
    found = _SUFFIXED.fullmatch(name.strip())
    if found is not None:
        return found["stem"].lower(), found["rest"], found["stem"].lower()
    above, dot, last = name.rpartition(".")
    return ("", last, above) if dot else ("", name, "")


def _numbered(what: str, group: ScoreColumns, about: Dataset) -> ScoreColumns:
    wanted, found = set(range(about.width)), set(group.numbered)
    if found != wanted:
        stem = next(iter(group.numbered.values())).rstrip("0123456789")
        missing = sorted(wanted - found)
        lacks = missing and len(found) >= len(wanted)
        message = f"column '{stem}{missing[0]}' is missing" if lacks else f"{len(found)} classes"
        names = listed(about.class_names)
        raise Ig3dError(f"{what}: {message}, but {about.name} has {about.width} in this order: {names}")
    group.by_class = dict(sorted(group.numbered.items()))
    return group


def scores_by_option(what: str, given: Mapping[str, str], columns: Columns, about: Dataset) -> ScoreColumns | None:
    """The columns of class scores that a user names.

    Args:
        what: the file, for messages.
        given: class (or `valence`, `arousal`) -> column.
        columns: of the file.
        about: whose classes.

    Raises:
        Ig3dError: a class or a column is unknown, or a class has none.
    """
    chosen = ScoreColumns("scores", "the given")
    for word, column in given.items():
        if column not in columns:
            raise Ig3dError(f"{what}: --columns {word}={column}: no such column; there are: {listed(columns)}")
        index = about.index(word)
        if index is None and normalized(word) not in _KEYS:
            classes = listed(about.class_names)
            raise Ig3dError(f"{what}: --columns {word}={column}: {word!r} is no class of {about.name}: {classes}")
        if index is not None:
            chosen.by_class[index] = column
            chosen.kind = _KINDS.get(_parsed(column)[0], "scores")
    missing = [name for index, name in enumerate(about.class_names) if index not in chosen.by_class]
    if chosen.by_class and missing:
        raise Ig3dError(f"{what}: --columns: no column for {', '.join(missing[:SHOWN])}; give each class one")
    return chosen if chosen.by_class else None


def find_va(what: str, columns: Columns) -> tuple[tuple[str, str] | None, tuple[str | None, str | None]]:
    """The columns of predicted valence and arousal, if any, and those of the true ones.

    Raises:
        Ig3dError: one of the two predictions is missing.
    """
    predicted = [find_column(columns, names) for names in VA_PREDICTED]
    true = [find_column(columns, names) for names in VA_TRUE]
    plain = [find_column(columns, names) for names in VA_PLAIN]
    if not any(predicted):
        predicted = plain
    elif not any(true):
        true = plain
    first, second = predicted
    if (first is None) != (second is None):
        missing = VA_PREDICTED[1][0] if first else VA_PREDICTED[0][0]
        raise Ig3dError(f"{what}: column {missing!r} is missing; valence and arousal come together")
    return (None if first is None or second is None else (first, second)), (true[0], true[1])
