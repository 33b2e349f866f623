"""Publishes a finished search: space, candidates and the ensemble spec, under the search's own name."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

import yaml

from ig3d_ray.bootstrap import DECIMALS
from ig3d_ray.candidates import Candidate
from ig3d_ray.data import catalog
from ig3d_ray.data.encoder_record import encoder_records
from ig3d_ray.ensemble import Compared, EnsembleMember, EnsembleSpec, ParetoPoint, Provenance, Scored, UsedEncoder
from ig3d_ray.fallbacks import build_fallbacks
from ig3d_ray.leaderboard import Leaderboard, Row
from ig3d_ray.logits import LogitStore, MemberCard
from ig3d_ray.protocol import Plan
from ig3d_ray.results import results_from_bytes, results_to_bytes
from ig3d_ray.scoring import Result
from ig3d_ray.space import SearchSpace
from ig3d_ray.storage import Store

# Named by what decides the numbers; the rest of the installation does not.
_VERSIONED = ("ig3d-ray", "numpy", "scipy", "optuna", "torch")


def search_folder(space: SearchSpace, name: str, plan: Plan) -> str:
    """Where a search lies in a store: its name, and a hash of the space, the samples, their labels and outputs."""
    # The space says how the pools are parted.
    pools = plan.parts.whole.digest + plan.report.digest
    # Another version of this package may score otherwise: it does not go on with what this one began.
    identity = hashlib.sha256(f"{version('ig3d-ray')}\0{space.hash}\0{pools}".encode()).hexdigest()[:8]
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
    members = [_member(store, space, by_name[n]) for n in board.chosen.result.members]
    compared = {"best_single": board.best_single, "mean": board.mean}
    if board.best_2d is not None:
        compared["best_2d"] = board.best_2d

    def against(row: Row) -> Compared:
        label, gain = " + ".join(row.result.members), board.gain_over(row, space.objective)
        scores = {"selection": row.scores.selection, "report": row.scores.report}
        return Compared(label=label, gain=gain, mcnemar=board.mcnemar_over(row), **scores)

    return EnsembleSpec(
        dataset=space.dataset,
        task=space.task,
        class_names=catalog.dataset(space.dataset).class_names,
        objective=space.objective,
        members=tuple(members),
        fusion=board.chosen.result.fusion,
        protocol=space.protocol,
        scores=Scored(selection=board.chosen.scores.selection, report=board.chosen.scores.report),
        optimism=board.optimism,
        pareto=tuple(
            ParetoPoint(members=r.members, fusion=r.fusion, cost=cost, selection=round(r.score, DECIMALS))
            for cost, r in board.pareto
        ),
        compared_with={key: against(row) for key, row in compared.items()},
        left_out=board.left_out,
        fallbacks=build_fallbacks(space, plan.parts[0], board.chosen.result, members),
        encoders=_encoders(store, space.dataset, members),
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


def _encoders(store: Store, dataset: str, members: Sequence[EnsembleMember]) -> dict[str, UsedEncoder]:
    """The encoders on record of what these members look at."""
    features = {feature for member in members for feature in member.features}
    records = encoder_records(store, dataset)
    return {name: UsedEncoder(**asdict(records[name])) for name in sorted(features & records.keys())}


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
    store.write(f"{folder}/candidates.parquet", results_to_bytes(results))
    store.write(f"{folder}/run.json", json.dumps({"search_seconds": round(seconds, 3)}).encode() + b"\n")
    store.write(f"{folder}/best_ensemble.json", spec.to_json().encode())
    store.remove(f"{folder}/rounds")


def load_results(store: Store, folder: str) -> list[list[Result]] | None:
    """The results of a finished search, None if there is none.

    Raises:
        Ig3dError: its table is broken.
    """
    if not store.exists(f"{folder}/best_ensemble.json"):
        return None
    found = results_from_bytes(store.read(f"{folder}/candidates.parquet"), store.locate(f"{folder}/candidates.parquet"))
    results: list[list[Result]] = [[] for _ in range(1 + max(part for part, _ in found))]
    for part, result in found:
        results[part].append(result)
    return results


class Journal:
    """What a search has scored so far, round by round, so that one that was killed goes on.

    Args:
        store, folder: where the search will be published; the rounds lie in a folder of it until then.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, f"{folder}/rounds"
        self.remembered: dict[tuple[int, Candidate], Result] = {}
        for name in store.names(self.folder):
            for part, result in results_from_bytes(store.read(name), store.locate(name)):
                self.remembered[(part, result.candidate)] = result
        self._round = len(store.names(self.folder))

    def write(self, results: Sequence[Sequence[Result]]) -> None:
        """Publish what has been scored since the last time."""
        fresh = [[r for r in found if (part, r.candidate) not in self.remembered] for part, found in enumerate(results)]
        if not any(fresh):
            return
        self.store.write(f"{self.folder}/{self._round:06d}.parquet", results_to_bytes(fresh))
        self._round += 1
        self.remembered |= {(part, r.candidate): r for part, found in enumerate(fresh) for r in found}
