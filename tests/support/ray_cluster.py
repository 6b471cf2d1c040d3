"""Ray cluster of several nodes on the loopback address of this machine, whose nodes tests can kill.

Ray runs in another process, so that the process of the tests does not import it.
"""

import json
import os
import signal
import subprocess
import sys

ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # to Ray: stay on the loopback address
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
}


class RayCluster:
    """Cluster of a head and a node with one CPU each; `address` is that of the head."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ENVIRONMENT,
            text=True,
            start_new_session=True,
        )
        self.address = self._ask("address")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait(600)
        self._process.stdout.close()

    def add_node(self):
        """Add a node of one CPU, and return its id."""
        return self._ask("add")

    def kill_node(self, number):
        """Kill a node with SIGKILL; 0 is the head."""
        self._ask(f"kill {number}")

    def run(self, code):
        """Evaluate an expression in a process that is connected to the cluster."""
        return self._ask(f"evaluate {code}")

    def _ask(self, words):
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve():
    import ray
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=small | {"include_dashboard": False})
    nodes = [cluster.head_node, cluster.add_node(**small)]
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        answer = None
        if command == "address":
            answer = cluster.address
        elif command == "add":
            nodes.append(cluster.add_node(**small))
            answer = nodes[-1].node_id
        elif command == "kill":
            for started in nodes[int(rest)].all_processes.values():
                for one in started:
                    os.kill(one.process.pid, signal.SIGKILL)
                    one.process.wait()  # a raylet that nobody waits for looks alive to its workers
        elif command == "evaluate":
            ray.init(cluster.address, log_to_driver=False, ignore_reinit_error=True)
            answer = eval(rest)
        print(json.dumps(answer), file=answers, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    _serve()
