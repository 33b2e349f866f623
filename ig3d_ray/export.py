"""Publishes a finished search: space, candidates and the ensemble spec, under the search's own name."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal

import pyarrow as pa
import yaml

from ig3d_ray.data import catalog
from ig3d_ray.ensemble import Compared, EnsembleMember, EnsembleSpec, Fusion, Provenance, Scored
from ig3d_ray.errors import Ig3dError
from ig3d_ray.leaderboard import Leaderboard, Row
from ig3d_ray.logits import LogitStore, MemberCard
from ig3d_ray.protocol import Plan
from ig3d_ray.search import WEIGHT_DECIMALS, Candidate, Result
from ig3d_ray.space import SearchSpace
from ig3d_ray.storage import Store
from ig3d_ray.tables import table_from_bytes, table_to_bytes

# Named by what decides the numbers; the rest of the installation does not.
_VERSIONED = ("ig3d-ray", "numpy", "scipy", "optuna", "torch")


def search_folder(space: SearchSpace, name: str, plan: Plan) -> str:
    """Where a search lies in a store: its name, and a hash of the space, the samples, their labels and outputs."""
    pools = "".join(pool.digest for pool in (*plan.parts, plan.report))
    identity = hashlib.sha256(f"{space.hash}\0{pools}".encode()).hexdigest()[:8]
    return f"searches/{space.dataset}/{name}-{identity}"


def build_spec(
    store: Store,
    space: SearchSpace,
    name: str,
    plan: Plan,
    board: Leaderboard,
    cards: Sequence[MemberCard],
    dataset_fingerprint: str,
) -> EnsembleSpec:
    """The ensemble spec of a judged search.

    Args:
        cards: of the pool's members, the chosen ones among them.
    """
    by_name = {card.name: card for card in cards}
    members = [_member(store, space, by_name[n]) for n in board.chosen.result.candidate.members]
    compared = {"best_single": board.best_single, "mean": board.mean}
    if board.best_2d is not None:
        compared["best_2d"] = board.best_2d

    def against(row: Row) -> Compared:
        label = " + ".join(row.result.candidate.members)
        gain = board.gain_over(row, space.objective)
        return Compared(label=label, gain=gain, selection=row.scores.selection, report=row.scores.report)

    return EnsembleSpec(
        dataset=space.dataset,
        task=space.task,
        class_names=catalog.dataset(space.dataset).class_names,
        objective=space.objective,
        members=tuple(members),
        fusion=board.chosen.result.fusion,
        protocol=space.protocol,
        scores=Scored(selection=board.chosen.scores.selection, report=board.chosen.scores.report),
        compared_with={key: against(row) for key, row in compared.items()},
        left_out=board.left_out,
        provenance=Provenance(
            versions={package: version(package) for package in _VERSIONED},
            seed=space.seed,
            search_space=name,
            search_space_hash=space.hash,
            dataset_fingerprint=dataset_fingerprint,
            samples_sha256={pool.split: pool.samples_digest for pool in (plan.parts[0], plan.report)},
            candidates=board.candidates,
        ),
    )


def _member(store: Store, space: SearchSpace, card: MemberCard) -> EnsembleMember:
    spec, dataset, logits = json.loads(card.spec), space.dataset, LogitStore(store)
    checkpoint = f"members/{dataset}/{card.fingerprint}/checkpoint.pt" if spec["kind"] != "imported" else None
    return EnsembleMember(
        name=card.name,
        fingerprint=card.fingerprint,
        kind=spec["kind"],
        view=card.view,
        spec=spec,
        checkpoint=checkpoint,
        checkpoint_sha256=hashlib.sha256(store.read(checkpoint)).hexdigest() if checkpoint else None,
        logits_sha256={s: logits.read(dataset, card.fingerprint, s).digest for s in space.protocol.splits},
    )


def publish(
    store: Store,
    folder: str,
    space: SearchSpace,
    results: Sequence[Sequence[Result]],
    spec: EnsembleSpec,
    seconds: float,
) -> None:
    """Publish a search. The spec comes last: where it is, everything else is."""
    store.write(f"{folder}/space.yaml", yaml.safe_dump(space.model_dump(mode="json"), sort_keys=False).encode())
    store.write(f"{folder}/candidates.parquet", _candidates(results))
    store.write(f"{folder}/run.json", json.dumps({"search_seconds": round(seconds, 3)}).encode() + b"\n")
    store.write(f"{folder}/best_ensemble.json", spec.to_json().encode())


_CANDIDATES = pa.schema(
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
        ("score", pa.float64()),
    ]
)


def _candidates(results: Sequence[Sequence[Result]]) -> bytes:
    rows = []
    for part, found in enumerate(results):
        for result in found:
            candidate, fusion = result.candidate, result.fusion
            low, high = fusion.equally_good_weight_3d or (None, None)
            weight = fusion.weights[1] if fusion.weights else None
            words = (candidate.strategy or "single", candidate.space, weight, candidate.weight_3d == "exact")
            row = (part, list(candidate.members), *words, low, high, candidate.reference, result.score)
            rows.append(dict(zip(_CANDIDATES.names, row, strict=True)))
    return table_to_bytes(pa.Table.from_pylist(rows, schema=_CANDIDATES))


def load_results(store: Store, folder: str) -> list[list[Result]] | None:
    """What a finished search found, part by part; None where there is no finished search.

    Raises:
        Ig3dError: its table is broken.
    """
    if not store.exists(f"{folder}/best_ensemble.json"):
        return None
    name = f"{folder}/candidates.parquet"
    try:
        rows = table_from_bytes(store.read(name), _CANDIDATES).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        where = store.locate(name)
        raise Ig3dError(f"{where}: cut short or not Parquet; delete {folder} and search again") from error
    results: list[list[Result]] = [[] for _ in range(1 + max(row["part"] for row in rows))]
    for row in rows:
        strategy = None if row["strategy"] == "single" else row["strategy"]
        weight: float | None = row["weight_3d"]
        asked: float | Literal["exact"] | None = "exact" if row["solved"] else weight
        candidate = Candidate(tuple(row["members"]), strategy, row["space"], asked, row["reference"])
        fusion = Fusion(
            strategy=strategy,
            space=row["space"],
            weights=None if weight is None else (round(1 - weight, WEIGHT_DECIMALS), weight),
            equally_good_weight_3d=(row["equally_good_from"], row["equally_good_to"]) if row["solved"] else None,
        )
        results[row["part"]].append(Result(candidate, fusion, row["score"]))
    return results
