"""How many requests a run makes of an S3: `python -m benchmarks.requests`, against moto on this machine.

Two runs that differ in their number of members give what a member costs, and what the rest.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

SPACE = """
dataset: faces
objective: accuracy
data: {{samples: 240, seed: 3}}
pool:
  - kind: cnn
    width: 4
    image_size: 32
    recipe: &quick {{epochs: 3, patience: 3, batch_size: 16}}
  - kind: mlp3d
    representation: emoca
    subset: full
    width: 16
    seed: {seeds}
    recipe: *quick
search: {{budget: 20, batch: 10}}
"""
COUNTS = (4, 36)


def kind_of(environ: dict[str, Any]) -> str:
    """What a request asks: `LIST`, or its method."""
    return "LIST" if "list-type" in environ.get("QUERY_STRING", "") else environ["REQUEST_METHOD"]


def counted(members: int) -> Counter[str]:
    """The requests of one run with so many 3D classifiers and one image network."""
    counts: Counter[str] = Counter()
    application = DomainDispatcherApplication(create_backend_app)

    def count(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        counts[kind_of(environ)] += 1
        return application(environ, start)  # type: ignore[no-any-return]

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, count, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.port}"
    access = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    access |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ.update(access)
    bucket = f"requests-{members}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=bucket)
    counts.clear()
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.yaml"
        space.write_text(SPACE.format(seeds=list(range(members))))
        words = [sys.executable, "-m", "ig3d_ray", "run", str(space), "--storage", f"s3://{bucket}/x"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server.shutdown()
    return counts


def main() -> None:
    few, many = (counted(count) for count in COUNTS)
    more = COUNTS[1] - COUNTS[0]
    each = {kind: (many[kind] - few[kind]) / more for kind in sorted(many)}
    rest = {kind: few[kind] - COUNTS[0] * each[kind] for kind in each}
    print(json.dumps({"per member": each, "whole run": rest, "in all": [few, many]}, indent=1))


if __name__ == "__main__":
    main()
