"""Watches for the notice that this machine is about to be preempted, and passes it on to Ray.

Clouds notify a spot machine, and only that machine, some time before they reclaim it: Amazon two minutes, Google and
Microsoft thirty seconds, Kubernetes when a pod's end begins. Ray passes a drain notice on to the trainings
on it, but nothing notifies Ray. Run on every worker: `python -m ig3d_ray.on_ray.notice --cloud aws --head HOST:PORT`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

POLL_SECONDS = 2.0
ANSWER_SECONDS = 2.0
# All clouds provide the metadata service of a machine at this address.
_METADATA = os.environ.get("IG3D_METADATA", "http://169.254.169.254")


def aws() -> int | None:
    """Seconds until Amazon reclaims this machine; None if there is no notice."""
    asked = urllib.request.Request(  # noqa: S310 (a fixed http address)
        f"{_METADATA}/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    token = _answer(asked)
    if token is None:
        return None
    # 404 as long as nothing is planned.
    return None if _ask("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token}) is None else 115


def gcp() -> int | None:
    """Seconds until Google reclaims this machine; None if there is no notice."""
    said = _ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
    return 28 if said == "TRUE" else None


def azure() -> int | None:
    """Seconds until Microsoft reclaims this machine; None if there is no notice."""
    said = _ask("/metadata/scheduledevents?api-version=2020-07-01", {"Metadata": "true"})
    events = json.loads(said or "{}").get("Events", [])
    return 28 if any(event.get("EventType") in ("Preempt", "Terminate") for event in events) else None


CLOUDS: dict[str, Callable[[], int | None]] = {"aws": aws, "gcp": gcp, "azure": azure}


def _ask(path: str, headers: dict[str, str]) -> str | None:
    return _answer(urllib.request.Request(f"{_METADATA}{path}", headers=headers))  # noqa: S310 (a fixed http address)


def _answer(request: urllib.request.Request) -> str | None:
    """The answer of the machine's metadata service; None if there is none at the moment."""
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 (a fixed http address)
            return str(answer.read().decode())
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return None


def drain(head: str | None, seconds: int, why: str) -> int:
    """Notify Ray that this machine stops in the given time; return the exit code of Ray's command."""
    ray = str(Path(sys.executable).with_name("ray"))
    words = [ray, "drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", why]
    words += ["--deadline-remaining-seconds", str(seconds)] + (["--address", head] if head else [])
    return subprocess.run(words).returncode  # noqa: S603 (Ray's own command)


def main() -> int:
    """Watch until there is notice and pass it on; with --now pass it on at once."""
    parser = argparse.ArgumentParser(prog="python -m ig3d_ray.on_ray.notice", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cloud", choices=sorted(CLOUDS), help="whose notice to watch for")
    what.add_argument("--now", action="store_true", help="this machine stops now, for a pod's preStop hook")
    parser.add_argument("--seconds", type=int, default=25, help="with --now: the remaining seconds")
    parser.add_argument("--head", metavar="HOST:PORT", help="the cluster's head; found on this machine by default")
    words = parser.parse_args()
    if words.now:
        return drain(words.head, words.seconds, "terminated")
    look = CLOUDS[words.cloud]
    while (left := look()) is None:
        time.sleep(POLL_SECONDS)
    print(f"{words.cloud} takes this machine in about {left} s: telling Ray", flush=True)
    # Retry: a head that doesn't respond now may do so soon, and the machine is gone in half a minute.
    while code := drain(words.head, left, f"{words.cloud} takes this machine"):
        left -= int(POLL_SECONDS)
        if left <= 0:
            return code
        time.sleep(POLL_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
