"""`ig3d serve`: an ensemble as an HTTP service."""

import importlib.util
import logging
import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from ig3d_ray.cli.locate import spec_at
from ig3d_ray.cli.options import Address, SpecStorage, SpecUri
from ig3d_ray.cli.say import say
from ig3d_ray.errors import Ig3dError

WATCH_SECONDS = 2.0
logger = logging.getLogger(__name__)
ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 (to warn about them)


def serve(
    spec: SpecUri,
    storage: SpecStorage = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Interface to listen on; the default is this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of the ensemble.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each replica.")] = 0.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="When the file SPEC changes, serve the new one without dropping requests.")
    ] = False,
    address: Address = None,
) -> None:
    """Answer POST /predict until terminated; also GET /healthz, /version, /metrics, /docs. Requests are not
    authenticated."""
    from ig3d_ray.cli.terminal import log_to_stderr
    from ig3d_ray.ensembles.spec import read_ensemble, spec_digest, storage_of

    if importlib.util.find_spec("fastapi") is None:
        raise Ig3dError("fastapi is not installed, and serving needs it: pip install 'ig3d-ray[serve]'")
    from ig3d_ray.on_ray.cluster import connected

    spec = spec_at(spec, storage)
    read_ensemble(spec, storage)
    # A replica starts in another folder.
    uri = spec if "://" in spec else str(Path(spec).absolute())
    args = {"spec": uri, "storage": storage or storage_of(spec), "replicas": replicas, "gpus": gpus}
    args["sha256"] = spec_digest(uri)
    log_to_stderr()
    ended = threading.Event()
    with connected(address, None):
        from ig3d_ray.on_ray.serve import check_room, end_service, others_serve, run_service

        shared = others_serve()
        check_room(gpus)
        own_ray = address is None and "RAY_ADDRESS" not in os.environ
        try:
            run_service(args, host, port)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: ended.set())
            if host in ALL_INTERFACES:
                say("warning: whoever reaches this machine can send requests; put an authenticating proxy in front")
            where = "/predict at the port of this cluster's Ray Serve" if shared else f"http://{host}:{port}/predict"
            say(f"{where} answers; /docs describes it; stop it with Ctrl-C")
            _wait(ended, args, watch)
        except RuntimeError as error:
            raise Ig3dError(f"{spec}: the service could not start: {str(error).splitlines()[0]}") from error
        finally:
            end_service(own_ray)


def _wait(ended: threading.Event, args: dict[str, Any], watch: bool) -> None:
    """Wait until terminated; meanwhile, if asked for, serve what the spec's file changes to."""
    from ig3d_ray.ensembles.spec import spec_digest
    from ig3d_ray.on_ray.serve import update_service

    refused = ""
    while not ended.wait(WATCH_SECONDS if watch else None):
        try:
            digest = spec_digest(args["spec"])
            if digest in (args["sha256"], refused):
                continue
            refused = digest
            _check_loads(args)
        except Ig3dError as error:
            logger.warning(f"{error}; the former spec is served on")
            continue
        args["sha256"] = digest
        update_service(args)
        logger.info(f"{args['spec']}: serving the new one, SHA-256 {digest}")


def _check_loads(args: dict[str, Any]) -> None:
    """Check a new spec and its files before any replica loads it.

    Raises:
        Ig3dError: it can't be served.
    """
    from ig3d_ray.ensembles.predictor import load_ensemble

    load_ensemble(args["spec"], args["storage"], "cpu")
