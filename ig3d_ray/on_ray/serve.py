"""An ensemble as an HTTP service on Ray Serve: predictions, health, metrics, OpenAPI."""

import asyncio
import logging
import time
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from fastapi import Request as HttpRequest
from fastapi.responses import HTMLResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from ray import serve

from ig3d_ray.ensembles.http_page import describing_page
from ig3d_ray.ensembles.predictor import Ensemble, load_ensemble
from ig3d_ray.ensembles.requests import (
    MISSING,
    TOO_LARGE,
    TOO_SLOW,
    Limits,
    PredictRequest,
    PredictResponse,
    RefusedError,
    Request,
    parse_request,
)
from ig3d_ray.ensembles.service import Answer, answer_together
from ig3d_ray.ensembles.spec import spec_digest
from ig3d_ray.errors import Ig3dError
from ig3d_ray.on_ray.autoscaling import has_autoscaler
from ig3d_ray.on_ray.cluster import encoders_that_fit

TOGETHER, WAIT_SECONDS = 32, 0.01
"""The maximum number of requests in one batch, and the maximum time that the first of them waits for others."""
WAITING_AT_MOST = 512
ANSWER_SECONDS = 120
NAME = "ig3d"
_SCHEMA = PredictRequest.model_json_schema()
_MISSING: dict[str, Any] = {"name": "missing", "in": "query", "required": False}
_MISSING["schema"] = {"type": "string", "enum": list(MISSING), "default": "fail"}
_MISSING["description"] = "What to do where an input of a member is missing; a field of the body overrides it."
_REFUSALS = {400: "Not as described here.", 408: "The body did not arrive in time.", 413: "Too large."}
_REFUSALS |= {415: "Neither image/... nor application/json.", 422: "An image or parameters that can't be used."}
_PREDICT: dict[str, Any] = {
    "parameters": [_MISSING],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": {str(status): {"description": why} for status, why in _REFUSALS.items()},
}
logger = logging.getLogger(__name__)

# The usual pages at /docs load their scripts from the internet; the one below doesn't.
api = FastAPI(
    title="ig3d_ray",
    version=version("ig3d-ray"),
    description="Facial expressions by late fusion of image networks and 3D face models.",
    docs_url=None,
    redoc_url=None,
)


# Serve retries requests beyond a replica's limit with increasing delays, so all requests queue in the replica.
@serve.deployment(max_ongoing_requests=WAITING_AT_MOST, max_queued_requests=WAITING_AT_MOST)
@serve.ingress(api)
class Service:
    """One replica of the ensemble.

    Args:
        spec: URI of its `best_ensemble.json`.
        storage: where its files are stored; None for the storage of the spec.
    """

    def __init__(self, spec: str, storage: str | None = None) -> None:
        self.uri, self.storage, self.limits = spec, storage, Limits()
        self.ensemble, self.digest = self._load()
        self.registry = CollectorRegistry()
        self.requests = Counter("ig3d_requests", "Requests by status.", ["status"], registry=self.registry)
        self.images = Counter("ig3d_images", "Images predicted.", registry=self.registry)
        self.seconds = Histogram("ig3d_seconds", "From a request to its answer.", registry=self.registry)

    def _load(self) -> tuple[Ensemble, str]:
        digest = spec_digest(self.uri)
        return load_ensemble(self.uri, self.storage), digest

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Serve another spec, which has been put where the first one was; requests are answered meanwhile.

        Args:
            config: `sha256` of the spec.
        """
        if config["sha256"] == self.digest:
            return
        try:
            self.ensemble, self.digest = await asyncio.to_thread(self._load)
        except Ig3dError as error:
            logger.error("the new spec cannot be served, the old one is: %s", error)

    @api.post("/predict", openapi_extra=_PREDICT, response_model=PredictResponse)
    async def predict(self, request: HttpRequest) -> dict[str, Any]:
        """One image (image/...), or JSON: {"images": [base64, ...], "parameters": {...}, "missing": "fail"}."""
        started = time.monotonic()
        try:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    body = await self._body(request)
            except TimeoutError as error:
                raise RefusedError(TOO_SLOW, f"no whole body within {self.limits.seconds:g} s") from error
            # Decoding headers of images takes time that other requests should not wait for.
            kind, missing = request.headers.get("content-type", ""), request.query_params.get("missing", "fail")
            asked = await asyncio.to_thread(parse_request, kind, body, self.limits, missing)
            answer = await self.answer(asked)
            if isinstance(answer, RefusedError):
                raise answer
        except RefusedError as refused:
            self.requests.labels(str(refused.status)).inc()
            raise HTTPException(refused.status, refused.why) from refused
        self.requests.labels("200").inc()
        self.images.inc(len(answer["predictions"]))
        self.seconds.observe(time.monotonic() - started)
        return answer

    async def _body(self, request: HttpRequest) -> bytes:
        """The body; reading stops as soon as it is too large."""
        found = bytearray()
        async for part in request.stream():
            found += part
            if len(found) > self.limits.body:
                raise RefusedError(TOO_LARGE, f"a body of more than {self.limits.body} bytes")
        return bytes(found)

    @serve.batch(max_batch_size=TOGETHER, batch_wait_timeout_s=WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def answer(self, asked: list[Request]) -> list[Answer | RefusedError]:
        """Requests that arrived at about the same time, answered in one pass."""
        return await asyncio.to_thread(answer_together, self.ensemble, asked)

    @api.get("/healthz")
    async def healthz(self) -> dict[str, Any]:
        """The service's status, and what it predicts."""
        spec = self.ensemble.spec
        return {"status": "ok", "dataset": spec.dataset, "task": spec.task, "class_names": list(spec.class_names)}

    @api.get("/version")
    async def version(self) -> dict[str, str]:
        """The SHA-256 of the spec that answers, and this package's version."""
        return {"spec_sha256": self.digest, "ig3d_ray": version("ig3d-ray")}

    @api.get("/docs", include_in_schema=False)
    async def docs(self) -> HTMLResponse:
        """A page that describes the service."""
        return HTMLResponse(describing_page(api.openapi()))

    @api.get("/metrics")
    async def metrics(self) -> Response:
        """The metrics of this replica, in Prometheus format."""
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4")


def application(args: dict[str, Any]) -> Any:
    """For `serve.run` and KubeRay's RayService: `spec` and, where it lies elsewhere, `storage`; `replicas`, `gpus`."""
    options: dict[str, Any] = {"num_replicas": int(args.get("replicas", 1))}
    options["ray_actor_options"] = {"num_gpus": float(args.get("gpus", 0)), "num_cpus": float(args.get("cpus", 1))}
    options["user_config"] = {"sha256": args.get("sha256") or spec_digest(args["spec"])}
    return Service.options(**options).bind(args["spec"], args.get("storage"))  # type: ignore[attr-defined]


def check_room(gpus: float) -> None:
    """Check that a replica of the ensemble fits, because Ray Serve would wait for resources indefinitely.

    Raises:
        Ig3dError: it doesn't fit, and no machine would be started.
    """
    if encoders_that_fit(gpus, 1) < 1 and not has_autoscaler():
        raise Ig3dError(f"a replica needs 1 CPU and {gpus:g} GPUs, and no machine here has them; lower --gpus")


def others_serve() -> bool:
    """Whether Ray Serve runs on the connected cluster already: then this service answers at its port.

    Raises:
        Ig3dError: a service of this name runs there; its clients would get another ensemble's predictions.
    """
    status = serve.status()
    if NAME in status.applications:
        raise Ig3dError("an ensemble is served on this cluster already; end that `ig3d serve` first")
    return bool(status.proxies)


def run_service(args: dict[str, Any], host: str, port: int) -> None:
    """Start the service on the connected Ray, and wait until it answers.

    Raises:
        RuntimeError: a replica could not start.
    """
    options = {"host": host, "port": port, "request_timeout_s": ANSWER_SECONDS}
    serve.start(http_options=options, logging_config={"log_level": "WARNING"})
    serve.run(application(args), name=NAME, route_prefix="/", logging_config={"log_level": "WARNING"})


def update_service(args: dict[str, Any]) -> None:
    """Have the replicas of a running service load the spec that is now where the first one was.

    Only their configuration changes, so Ray Serve keeps the replicas: each answers by the old spec until it has loaded
    the new one, and no request is dropped.

    Args:
        args: as given to `run_service`, with the new spec's `sha256`.

    Raises:
        RuntimeError: a replica failed.
    """
    serve.run(application(args), name=NAME, route_prefix="/", logging_config={"log_level": "WARNING"})


def end_service(alone: bool) -> None:
    """Finish active requests, and stop.

    Args:
        alone: whether this service started this Ray; on a shared cluster other services continue.
    """
    if alone:
        serve.shutdown()
    else:
        serve.delete(NAME)
