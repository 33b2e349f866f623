"""An exported fusion applied to the members' predictions on new, unlabeled samples. Loads no torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets import Dataset, VaLabels
from ig3d_ray.data.ids import match_ids, unlike
from ig3d_ray.data.tables.pieces import Packer, piece
from ig3d_ray.ensembles.parameters import Parameters
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.importing.faces import one_per_sample
from ig3d_ray.importing.reading import Predictions, Reading
from ig3d_ray.importing.tables import read_predictions, rows_of
from ig3d_ray.types import Task

Table = Path | str | pd.DataFrame


def fused_frame(spec: EnsembleSpec, fusion: Fusion, ids: list[str], fused: np.ndarray) -> pd.DataFrame:
    """Fused outputs as a table: `sample_id`, `predicted`, `abstained` if the spec has a threshold, and a
    `probability_<class>` each; or `valence` and `arousal` in the data set's range.

    Args:
        spec: whose classes.
        fusion: that was applied; it decides the probabilities.
        ids: of the N samples.
        fused: `[N, C]` or `[N, 2]`.
    """
    columns: dict[str, object] = {"sample_id": pd.array(ids, dtype="string")}
    if not spec.task.has_classes:
        about = datasets.find(spec.dataset)
        va = about.va.native(fused) if about is not None and about.va is not None else fused
        return pd.DataFrame(columns | {"valence": va[:, 0], "arousal": va[:, 1]})
    columns["predicted"] = pd.array([spec.class_names[i] for i in fused.argmax(axis=1)], dtype="string")
    likely = fusion.probabilities(fused)
    if spec.abstention is not None:
        columns["abstained"] = _abstained(spec, fusion, likely)
    return pd.DataFrame(columns | {f"probability_{name}": likely[:, i] for i, name in enumerate(spec.class_names)})


def _abstained(spec: EnsembleSpec, fusion: Fusion, likely: np.ndarray) -> np.ndarray:
    """Where the ensemble abstains, `[N]` bool; a fallback always does: its errors weren't bounded."""
    threshold = spec.abstention.threshold if spec.abstention is not None else None
    if threshold is None or fusion != spec.fusion:
        return np.ones(len(likely), dtype=bool)
    return np.asarray(likely.max(axis=1) < threshold)


def predict_from(
    spec: EnsembleSpec,
    tables: Mapping[str, Table],
    reading: Reading | None = None,
    skip_missing: bool = False,
    parameters: Mapping[str, Parameters] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Apply an ensemble's fusion to its members' predictions; rows are matched by id, in the first table's order.

    Args:
        spec: the exported ensemble.
        tables: member's name -> its predictions, as a file or a DataFrame; one for each member.
        reading: what can't be found out about the tables.
        skip_missing: leave samples out for which a member has no prediction, or a gate no parameters, instead of an
            error.
        parameters: representation -> the samples' parameters, for an ensemble whose gate takes them as input.

    Returns:
        The predictions, as `fused_frame` has them, and notes on what was read and changed.

    Raises:
        Ig3dError: a member has no table, or a table can't be read; a sample is missing in one of them.
    """
    names = [member.name for member in spec.members]
    missing, unknown = [n for n in names if n not in tables], [n for n in tables if n not in names]
    if missing or unknown:
        wrong = f"{unknown[0]!r} is no member" if unknown else f"member {missing[0]!r} has no predictions"
        raise Ig3dError(f"--predictions: {wrong}; give NAME=FILE for each of: {', '.join(names)[:150]}")
    about = _dataset_of(spec)
    read = {name: _read(tables[name], name, about, reading or Reading()) for name in tables}
    notes = [f"{name}: {note}" for name, one in read.items() for note in one.notes]
    first = next(iter(read))
    rows, more = _aligned(read, first, skip_missing)
    ids = read[first].ids[rows[first]]
    given, there = _parameters(spec, ids.tolist(), parameters or {}, skip_missing)
    if not there.all():
        more.append(f"{int((~there).sum())} of {len(there)} samples have no parameters for the gate; left out")
    outputs = np.stack([_outputs(read[name], name, spec.task)[rows[name][there]] for name in names])
    fused = spec.fusion.apply(outputs, spec.task, given)
    return fused_frame(spec, spec.fusion, ids[there].tolist(), fused), notes + more


def _parameters(
    spec: EnsembleSpec, ids: list[str], given: Mapping[str, Parameters], skip: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The parameters that the gate takes as input, and which samples have them, `[N]` bool."""
    name, there = spec.fusion.representation, np.ones(len(ids), dtype=bool)
    unused = sorted(set(given) - {name})
    if unused:
        raise Ig3dError(f"--parameters {unused[0]}: the ensemble's fusion takes none of them as input; leave them out")
    if name is None:
        return {}, there
    if name not in given:
        raise Ig3dError(f"the ensemble's gate takes {name} parameters as input; give --parameters {name}=PATH")
    given[name].check(ids)
    vectors = [given[name].of(one) for one in ids]
    there = np.array([vector is not None for vector in vectors])
    if not there.all() and not (skip and there.any()):
        first, lost = ids[int((~there).argmax())], int((~there).sum())
        raise Ig3dError(
            f"--parameters {name}: {lost} of {len(ids)} samples have none, such as {first[:60]!r}; add them, or"
            " --missing skip"
        )
    return {name: np.stack([vector for vector in vectors if vector is not None])}, there


def _dataset_of(spec: EnsembleSpec) -> Dataset:
    """The data set of a spec, with the classes that the spec has: a spec needs nothing beside it."""
    known = datasets.find(spec.dataset)
    if known is not None and known.class_names == spec.class_names:
        return known
    classes = {"classes": list(spec.class_names)} if spec.class_names else {}
    va = {"va": VaLabels().model_dump()} if spec.task is Task.VA else {}
    return Dataset.model_validate({"name": spec.dataset, **classes, **va})


def _read(table: Table, name: str, about: Dataset, reading: Reading) -> Predictions:
    if not isinstance(table, pd.DataFrame):
        return read_predictions(Path(table), about, reading)
    packer = Packer()
    packer.add({str(column): piece(table[column].tolist()) for column in table.columns}, len(table))
    columns = packer.columns()
    return one_per_sample(rows_of(columns, f"table of {name}", about, reading), Path(f"table of {name}"), reading.faces)


def _outputs(read: Predictions, name: str, task: Task) -> np.ndarray:
    values = read.logits if task.has_classes else read.va
    if values is None:
        raise Ig3dError(f"{name}: its predictions have no {task.outputs}, which the ensemble fuses")
    return values


def _aligned(read: Mapping[str, Predictions], first: str, skip: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """For each member the rows of the common samples, in the first table's order."""
    order, place, notes = read[first].ids, {}, []
    for name, one in read.items():
        match = match_ids(one.ids, order)
        place[name] = match.place
        if match.how:
            notes.append(f"{name}: ids were matched {match.how}")
        lost = match.place < 0
        if lost.any() and not (skip and not lost.all()):
            raise Ig3dError(
                f"{name}: {int(lost.sum())} of {len(lost)} samples of {first} have no prediction:"
                f" {unlike(one.ids, order[lost])}; add them, or --missing skip"
            )
    common = np.all([rows >= 0 for rows in place.values()], axis=0)
    if not common.all():
        notes.append(f"{int((~common).sum())} of {len(common)} samples lack a member's prediction; left out")
    return {name: rows[common] for name, rows in place.items()}, notes
