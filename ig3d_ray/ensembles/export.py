"""Publishes a finished search: space, candidates and the ensemble spec, under the search's own name."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

import yaml

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.data.encoder_record import encoder_records
from ig3d_ray.ensembles.fallbacks import build_fallbacks
from ig3d_ray.ensembles.spec import Compared, EnsembleMember, EnsembleSpec, ParetoPoint, Provenance, UsedEncoder
from ig3d_ray.evaluation.bootstrap import DECIMALS
from ig3d_ray.evaluation.logits import LogitStore, MemberCard
from ig3d_ray.evaluation.scores import Scored
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.search.leaderboard import Leaderboard, Row
from ig3d_ray.search.protocol import Plan
from ig3d_ray.search.results import results_to_bytes
from ig3d_ray.search.scoring import Result
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store

# Only packages that affect the numbers are listed.
_VERSIONED = ("ig3d-ray", "numpy", "scipy", "optuna", "torch")


def build_spec(
    store: Store,
    space: SearchSpace,
    name: str,
    plan: Plan,
    board: Leaderboard,
    cards: Sequence[MemberCard],
    dataset_fingerprint: str,
) -> EnsembleSpec:
    """The ensemble spec of an evaluated search.

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
        class_names=datasets.dataset(space.dataset).class_names,
        objective=space.objective,
        members=tuple(members),
        fusion=board.chosen_fusion,
        calibration=board.calibrated.scores if board.calibrated is not None else None,
        subgroups=board.subgroups,
        floor=board.floor,
        abstention=board.calibrated.abstention if board.calibrated is not None else None,
        protocol=space.protocol,
        scores=Scored(selection=board.chosen.scores.selection, report=board.chosen.scores.report),
        optimism=board.optimism,
        pareto=tuple(
            ParetoPoint(members=r.members, fusion=r.fusion, cost=cost, selection=round(r.score, DECIMALS))
            for cost, r in board.pareto
        ),
        compared_with={key: against(row) for key, row in compared.items()},
        excluded=board.excluded,
        fallbacks=build_fallbacks(space, plan.parts[0], board.chosen.result, members),
        encoders=_encoders(store, space.dataset, members, board.chosen_fusion),
        provenance=_provenance(space, name, plan, board, dataset_fingerprint),
    )


def _provenance(space: SearchSpace, name: str, plan: Plan, board: Leaderboard, dataset_fingerprint: str) -> Provenance:
    return Provenance(
        versions=_versions(),
        seed=space.seed,
        search_space=name,
        search_space_hash=space.hash,
        dataset_fingerprint=dataset_fingerprint,
        samples_sha256={pool.split: pool.samples_digest for pool in (plan.parts[0], plan.report)},
        candidates=board.candidates,
    )


def _versions() -> dict[str, str]:
    """The versions of the installed packages that affect the numbers."""
    found = {}
    for package in _VERSIONED:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _encoders(store: Store, dataset: str, members: Sequence[EnsembleMember], fusion: Fusion) -> dict[str, UsedEncoder]:
    """The recorded encoders of the representations that these members and their fusion take as input."""
    features = fusion.features.union(*(member.features for member in members))
    records = encoder_records(store, dataset)
    return {name: UsedEncoder(**asdict(records[name])) for name in sorted(features & records.keys())}


def _member(store: Store, space: SearchSpace, card: MemberCard) -> EnsembleMember:
    spec, dataset, logits = json.loads(card.spec), space.dataset, LogitStore(store)
    checkpoint = paths.checkpoint(dataset, card.fingerprint) if spec["kind"] != "imported" else None
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
    """Publish a search. The spec is written last: its presence means that everything else is complete."""
    store.write(paths.search_space(folder), yaml.safe_dump(space.model_dump(mode="json"), sort_keys=False).encode())
    store.write(paths.candidates(folder), results_to_bytes(results))
    store.write(paths.run_record(folder), json.dumps({"search_seconds": round(seconds, 3)}).encode() + b"\n")
    store.write(paths.ensemble_spec(folder), spec.to_json().encode())
    store.remove(paths.rounds(folder))
