"""A Ray cluster of two nodes on this machine, which runs until stdin is closed.

It prints its address for clients. The line "kill" on stdin removes the second node at once.
"""

import socket
import sys

from ray.cluster_utils import Cluster

MEMORY_BYTES = 200 * 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    port = free_port()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "ray_client_server_port": port,
            "include_dashboard": False,
            "object_store_memory": MEMORY_BYTES,
        },
    )
    second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES)
    print(f"ray://127.0.0.1:{port}", flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(second, allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
