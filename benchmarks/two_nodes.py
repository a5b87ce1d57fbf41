"""A Ray cluster of two nodes on this machine, for as long as somebody holds our stdin.

Prints its address for clients. The line "kill" on stdin takes the second node away at once.
"""

import socket
import sys

from ray.cluster_utils import Cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port = free_port()
cluster = Cluster(
    initialize_head=True,
    head_node_args={
        "num_cpus": 1,
        "ray_client_server_port": port,
        "include_dashboard": False,
        "object_store_memory": 200 * 2**20,
    },
)
second = cluster.add_node(num_cpus=1, object_store_memory=200 * 2**20)
print(f"ray://127.0.0.1:{port}", flush=True)
for line in sys.stdin:
    if line.strip() == "kill":
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
cluster.shutdown()
