"""Results of a search as a table: `candidates.parquet`, and the rounds of a search in progress."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.fusion.correction import Correction
from ig3d_ray.fusion.gating import Gate
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.scoring import Result
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes, with_schema

_COLUMNS = pa.schema(
    [
        ("part", pa.int32()),
        ("members", pa.list_(pa.string())),
        ("strategy", pa.string()),
        ("space", pa.string()),
        ("weight_3d", pa.float64()),
        ("solved", pa.bool_()),
        ("equally_good_from", pa.float64()),
        ("equally_good_to", pa.float64()),
        ("reference", pa.string()),
        ("method", pa.string()),
        ("per_column", pa.bool_()),
        ("fitted_temperatures", pa.bool_()),
        ("used", pa.list_(pa.string())),
        ("weights", pa.list_(pa.list_(pa.float64()))),
        ("temperatures", pa.list_(pa.float64())),
        ("floors", pa.list_(pa.float64())),
        ("score", pa.float64()),
    ]
)
_MARGIN, _FUSED_TEMPERATURE = pa.field("margin", pa.float64()), pa.field("fused_temperature", pa.float64())
"""Only where the protocol has a floor; only where the objective is one of probabilities."""
_GATE, _CORRECTION = pa.field("gate", pa.string()), pa.field("correction", pa.string())
"""As JSON, only where there is one."""
_OPTIONAL = (_MARGIN, _FUSED_TEMPERATURE, _GATE, _CORRECTION)


def results_to_bytes(results: Sequence[Sequence[Result]]) -> bytes:
    """Results of each part as Parquet, in order.

    `members` are those that were tried together and `used` those that got a weight; `weights` holds one weight for
    each of them, or one for each class (or valence and arousal).
    """
    rows = [_row(part, result) for part, found in enumerate(results) for result in found]
    schema = _COLUMNS
    for field in _OPTIONAL:
        if any(row[field.name] for row in rows):
            schema = schema.append(field)
    return table_to_bytes(pa.Table.from_pylist(rows, schema=schema))


def _row(part: int, result: Result) -> dict[str, Any]:
    candidate, fusion = result.candidate, result.fusion
    low, high = fusion.equally_good_weight_3d or (None, None)
    weights: list[list[float]] | None = None
    if fusion.weights_by_column is not None:
        weights = [list(row) for row in fusion.weights_by_column]
    elif fusion.weights is not None:
        weights = [[weight] for weight in fusion.weights]
    return {
        "part": part,
        "members": list(candidate.members),
        "strategy": candidate.strategy or "single",
        "space": candidate.space,
        "weight_3d": weights[1][0] if weights and candidate.method is None else None,
        "solved": candidate.weight_3d == "exact",
        "equally_good_from": low,
        "equally_good_to": high,
        "reference": candidate.reference,
        "method": candidate.method,
        "per_column": candidate.per_column,
        "fitted_temperatures": candidate.temperatures,
        "used": list(result.members),
        "weights": weights,
        "temperatures": None if fusion.temperatures is None else list(fusion.temperatures),
        "floors": None if fusion.floors is None else list(fusion.floors),
        "score": result.score,
        "margin": result.margin,
        "fused_temperature": fusion.fused_temperature,
        "gate": None if fusion.gate is None else fusion.gate.model_dump_json(),
        "correction": None if fusion.correction is None else fusion.correction.model_dump_json(),
    }


def results_from_bytes(data: bytes, what: str) -> list[tuple[int, Result]]:
    """(part, result) of each row, as `results_to_bytes` wrote them.

    Raises:
        Ig3dError: the table is truncated or has another format; the message begins with `what`.
    """
    try:
        table = table_from_bytes(data)
        optional = (field for field in _OPTIONAL if field.name in table.column_names)
        rows = with_schema(table, pa.schema([*_COLUMNS, *optional])).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise Ig3dError(f"{what}: truncated or not a table of results; delete its folder and search again") from error
    return [(row["part"], _result(row)) for row in rows]


def _result(row: dict[str, Any]) -> Result:
    strategy = None if row["strategy"] == "single" else row["strategy"]
    candidate = Candidate(
        members=tuple(row["members"]),
        strategy=strategy,
        space=row["space"],
        weight_3d="exact" if row["solved"] else row["weight_3d"],
        reference=row["reference"],
        method=row["method"],
        per_column=row["per_column"],
        temperatures=row["fitted_temperatures"],
    )
    weights = row["weights"]
    shared = weights is not None and not row["per_column"]
    fusion = Fusion(
        strategy=strategy,
        space=row["space"],
        weights=tuple(one for (one,) in weights) if shared else None,
        weights_by_column=tuple(map(tuple, weights)) if row["per_column"] else None,
        temperatures=None if row["temperatures"] is None else tuple(row["temperatures"]),
        floors=None if row["floors"] is None else tuple(row["floors"]),
        fused_temperature=row.get("fused_temperature"),
        gate=Gate.model_validate_json(row["gate"]) if row.get("gate") else None,
        correction=Correction.model_validate_json(row["correction"]) if row.get("correction") else None,
        equally_good_weight_3d=(row["equally_good_from"], row["equally_good_to"]) if row["solved"] else None,
    )
    return Result(candidate, tuple(row["used"]), fusion, row["score"], row.get("margin") or 0.0)
