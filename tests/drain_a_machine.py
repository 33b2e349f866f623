"""A training on a cluster of a head and two machines; the one that it runs on is given 30 s notice.

    python drain_a_machine.py STORAGE

Run by test_cluster.py, in a process and a home folder of its own. The last line is JSON: the worker's news.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from ig3d_ray.config.resources import Resources
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.models.mlp3d.spec import Mlp3dSpec
from ig3d_ray.models.recipe import TrainingRecipe
from ig3d_ray.models.spec import fingerprint
from ig3d_ray.on_ray.train import train_runs
from ig3d_ray.storage.store import Store
from ig3d_ray.training.runs import make_runs

NOTICE_SECONDS = 30


def drain(node: str, address: str) -> None:
    """What a cloud's agent does when the machine is about to be taken away."""
    ray_command = str(Path(sys.executable).parent / "ray")
    words = ["drain-node", "--address", address, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    words += ["--reason-message", "taken away", "--deadline-remaining-seconds", str(NOTICE_SECONDS)]
    done = subprocess.run([ray_command, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def busy_nodes() -> list[str]:
    """The machines whose CPU is taken."""
    free = ray._private.state.available_resources_per_node()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return [node["NodeID"] for node in nodes if free.get(node["NodeID"], {}).get("CPU", 0) < 1]


def main() -> None:
    store = Store(sys.argv[1])
    samples = make_faces(store, samples=1200, seed=3)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    # Epochs of seconds: the notice comes within one, not at the end of one.
    recipe = TrainingRecipe(batch_size=2, epochs=4, patience=None, base_lr=1e-5, max_lr=1e-4)
    spec = Mlp3dSpec(representation="emoca", subset="short", width=1024, recipe=recipe)
    member = (fingerprint("faces", samples.fingerprint, spec), spec)
    news: list[dict] = []

    def on_event(event: dict) -> None:
        now = time.monotonic()
        news.append(event | {"at": now})
        if event.get("epoch") == 2 and not any("drained" in e for e in news):
            (node,) = busy_nodes()
            drain(node, cluster.address)
            news.append({"drained": node, "at": now})
        if "resumed" in event:
            news[-1]["on"] = busy_nodes()

    try:
        failed = train_runs(make_runs(store, "faces", [member], 8), Resources(checkpoint_minutes=60), on_event)
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps({"failed": failed, "news": news, "machines": len(machines)}))


if __name__ == "__main__":
    main()
