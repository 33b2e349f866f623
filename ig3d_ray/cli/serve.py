"""`ig3d serve`: an ensemble as an HTTP service."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.errors import Ig3dError

OPEN = ("0.0.0.0", "::")  # noqa: S104 (named to be told of)


def serve(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A best_ensemble.json, as a file or URI.")],
    storage: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the spec's checkpoints lie; by default where it lies.")
    ] = None,
    host: Annotated[str, typer.Option(help="What to listen on; without, nobody else reaches it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of the ensemble.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Of each copy.")] = 0.0,
    address: Annotated[str | None, typer.Option(help="A Ray cluster, host:port or auto.")] = None,
) -> None:
    """Answer POST /predict until told to end; GET /healthz, /metrics, /docs. No password: mind who reaches it."""
    import signal
    import threading

    from ig3d_ray.ensembles.spec import read_ensemble, storage_of

    if importlib.util.find_spec("fastapi") is None:
        raise Ig3dError("fastapi is not installed, and serving needs it: pip install 'ig3d-ray[serve]'")
    from ig3d_ray.on_ray.cluster import connected

    read_ensemble(spec)
    # A copy of the ensemble starts in another folder.
    whole = spec if "://" in spec else str(Path(spec).absolute())
    args = {"spec": whole, "storage": storage or storage_of(spec), "replicas": replicas, "gpus": gpus}
    over = threading.Event()
    with connected(address, None):
        from ig3d_ray.on_ray.serve import check_room, end_service, others_serve, run_service

        shared = others_serve()
        check_room(gpus)
        alone = address is None and "RAY_ADDRESS" not in os.environ
        try:
            run_service(args, host, port)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: over.set())
            if host in OPEN:
                print("anybody who reaches this machine can ask; put what checks them in front of it")
            where = "/predict at the port of this cluster's Ray Serve" if shared else f"http://{host}:{port}/predict"
            print(f"{where} answers; /docs says how; end it with Ctrl-C", flush=True)
            over.wait()
        except RuntimeError as error:
            raise Ig3dError(f"{spec}: the service could not start: {str(error).splitlines()[0]}") from error
        finally:
            end_service(alone)
