"""Searches and members in MLflow, each logged once."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.errors import Ig3dError, without_password
from ig3d_ray.report.findings import Findings
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import unsealed
from ig3d_ray.storage.parquet import table_from_bytes
from ig3d_ray.storage.store import Store

EXTRA = "--mlflow needs MLflow's client: pip install 'ig3d-ray[mlflow]'"
METRICS_AT_ONCE = 1000
PARAMETERS_AT_ONCE = 100
# MLflow's own limit of a parameter's length is 6000.
LONGEST = 500


class Tracking:
    """An experiment on an MLflow server, opened before any long computation starts.

    Args:
        uri: `http://host:port`, `sqlite:///file.db`, or a folder.
        dataset: the experiment is `ig3d/<dataset>`.

    Raises:
        Ig3dError: MLflow is not installed, or doesn't answer there.
    """

    def __init__(self, uri: str, dataset: str) -> None:
        # MLflow would send telemetry, and retry an unreachable server for minutes.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        try:
            from mlflow import MlflowClient
        except ModuleNotFoundError as error:
            raise Ig3dError(EXTRA) from error
        self.where = without_password(uri)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            name = f"ig3d/{dataset}"
            known = self._client.get_experiment_by_name(name)
            self._experiment = self._client.create_experiment(name) if known is None else known.experiment_id
        # It passes on errors of its database, its HTTP client or the disk, and wraps some of them.
        except Exception as error:
            raise self._told(error) from error

    def log(self, store: Store, findings: Findings, folder: str) -> None:
        """Log a finished search and its trained members, those that are not there yet.

        Args:
            folder: of the search in the store.

        Raises:
            Ig3dError: the server stopped answering; what was logged is kept, and the same command continues.
        """
        try:
            there = self._logged()
            pool = findings.plan.report
            for name, member in zip(pool.names, pool.fingerprints, strict=True):
                history = paths.history(findings.space.dataset, member)
                if member not in there and store.exists(history):
                    self._member(store, findings.space.dataset, name, member, history)
            text = store.read(paths.ensemble_spec(folder))
            if folder not in there:
                self._search(findings.spec, folder, {paths.SPEC_FILE: text} | _page(store, folder))
        except Exception as error:
            raise self._told(error) from error

    def _logged(self) -> set[str]:
        """The complete runs of this experiment: members' fingerprints and searches' folders."""
        found, token = set(), None
        while True:
            page = self._client.search_runs(
                [self._experiment], "attributes.status = 'FINISHED'", max_results=1000, page_token=token
            )
            found |= {run.data.tags["ig3d.of"] for run in page if "ig3d.of" in run.data.tags}
            token = page.token
            if not token:
                return found

    def _member(self, store: Store, dataset: str, name: str, member: str, history: str) -> None:
        from mlflow.entities import Metric

        spec = _member_spec(store, paths.member_spec(dataset, member))
        rows = table_from_bytes(store.read(history)).to_pylist()
        scalars = [
            Metric(metric, float(value), 0, step)
            for step, row in enumerate(rows, 1)
            for metric, value in row.items()
            if metric not in ("epoch", "stage") and value == value
        ]
        self._run(name, member, "member", flat(spec), scalars, {})

    def _search(self, spec: EnsembleSpec, folder: str, files: Mapping[str, bytes]) -> None:
        from mlflow.entities import Metric

        values = {}
        for scored in (spec.scores.selection, spec.scores.report):
            part = "selection" if scored is spec.scores.selection else "report"
            for metric, interval in scored.metrics.items():
                values[f"{part}_{metric}"] = interval.value
                values |= {f"{part}_{metric}_low": interval.low, f"{part}_{metric}_high": interval.high}
        for other, compared in spec.compared_with.items():
            values[f"gain_over_{other}"] = compared.gain.value
        about = {
            "dataset": spec.dataset,
            "objective": spec.objective,
            "members": ", ".join(m.name for m in spec.members),
            "strategy": spec.fusion.strategy or "single",
            "space": spec.fusion.space,
            "weights": json.dumps(spec.fusion.all_weights),
            "temperatures": json.dumps(spec.fusion.temperatures),
            "floors": json.dumps(spec.fusion.floors),
            "seed": spec.provenance.seed,
        }
        scalars = [Metric(name, float(value), 0, 0) for name, value in values.items() if value == value]
        self._run(paths.parse_search(folder).search, folder, "search", about, scalars, files)

    def _run(
        self,
        name: str,
        of: str,
        kind: str,
        parameters: Mapping[str, Any],
        scalars: list[Any],
        files: Mapping[str, bytes],
    ) -> None:
        from mlflow.entities import Param

        tags = {"ig3d.of": of, "ig3d.kind": kind}
        run = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        given = [Param(key, str(value)[:LONGEST]) for key, value in parameters.items()]
        for start in range(0, len(given), PARAMETERS_AT_ONCE):
            self._client.log_batch(run, params=given[start : start + PARAMETERS_AT_ONCE])
        for start in range(0, len(scalars), METRICS_AT_ONCE):
            self._client.log_batch(run, metrics=scalars[start : start + METRICS_AT_ONCE])
        with tempfile.TemporaryDirectory() as place:
            for file, content in files.items():
                (Path(place) / file).write_bytes(content)
                self._client.log_artifact(run, str(Path(place) / file))
        # Only a complete run counts as logged.
        self._client.set_terminated(run)

    def _told(self, error: Exception) -> Ig3dError:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = without_password(lines[0])
        return Ig3dError(f"--mlflow {self.where}: {reason}; what this package made is kept: start it again, or without")


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by dotted names."""
    return dict(_flattened(content, prefix))


def _flattened(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _page(store: Store, folder: str) -> dict[str, bytes]:
    name = paths.report(folder)
    return {"report.html": store.read(name)} if store.exists(name) else {}


def _member_spec(store: Store, name: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = unsealed(store.read(name))
    except ValueError as error:
        raise Ig3dError(
            f"{store.locate(name)}: damaged ({str(error)[:100]}); delete its folder, train again"
        ) from error
    return content
