"""Ray Tune for the benchmark's work: the stock module and data module, one trial per seed, one per core at a time.

python benchmarks/ray_tune.py DATA_DIR NUM_TRIALS [--model mlp|convnet] [--epochs 2]

Ray Tune's defaults, as a user would have them: one process per trial, with its imports. Each trial has one CPU and one
torch thread. Prints the seconds of the start (imports and Ray itself), then the validation accuracy and the seconds of
each trial, its imports included. Needs the group `tune`: `uv sync --group tune`.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import num_cores


def train(config: dict[str, Any]) -> None:
    """Train one Ray Tune trial."""
    started = time.perf_counter()
    import torch
    from ray import tune
    from stock_modules import train_trial

    torch.set_num_threads(1)
    accuracy = train_trial(
        config["seed"],
        data_dir=config["data_dir"],
        model=config["model"],
        epochs=config["epochs"],
        accelerator="cpu",
    )
    tune.report({"accuracy": accuracy, "trial_seconds": time.perf_counter() - started})


def main() -> None:
    """Train NUM_TRIALS trials, of seeds 0, 1, and so on."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("num_trials", type=int)
    parser.add_argument("--model", default="mlp", choices=["mlp", "convnet"])
    parser.add_argument("--epochs", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # under `uv run`, Ray would build one environment per worker
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray import tune

    ray.init(num_cpus=num_cores(), include_dashboard=False, log_to_driver=False)
    print(f"start: {time.perf_counter() - started:.2f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={
                "seed": tune.grid_search(list(range(arguments.num_trials))),
                "data_dir": str(arguments.data_dir.absolute()),
                "model": arguments.model,
                "epochs": arguments.epochs,
            },
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
    ray.shutdown()
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed: {results.errors[0]}")
    for result in results:
        metrics = result.metrics
        print(f"seed {metrics['config']['seed']}: {metrics['accuracy']:.4f}, {metrics['trial_seconds']:.2f} s")


if __name__ == "__main__":
    main()
