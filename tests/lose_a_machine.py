"""Run by test_cluster.py: a search on three machines, one of which is taken away in the middle of it."""

import sys

import ray
from pools import MANY, make_pool, space
from ray.cluster_utils import Cluster

from ig3d_ray.on_ray.search import run_on_ray
from ig3d_ray.search.explorer import Explorer, run_local
from ig3d_ray.search.protocol import plan
from ig3d_ray.storage.store import Store


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    what = space(fusion=MANY, search={"budget": 60, "batch": 10})
    arranged = plan(what.protocol, {"dev": make_pool("dev", 3000), "test": make_pool("test")}, what.seed)
    lost = []

    def lose_one(explorer: Explorer) -> None:
        if not lost:
            lost.append(machines.pop())
            cluster.remove_node(lost[0], allow_graceful=False)

    try:
        found = run_on_ray(what, arranged.parts, Store(sys.argv[1]), "lost", lose_one)
    finally:
        ray.shutdown()
        cluster.shutdown()
    same = found == run_local(what, arranged.parts)
    print(f"lost {len(lost)} of 3 machines, {'same results' if same else 'other results'}")


if __name__ == "__main__":
    main()
