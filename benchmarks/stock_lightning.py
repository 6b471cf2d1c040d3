"""Stock Lightning for the benchmark's work: one warm process, all trials one by one.

python benchmarks/stock_lightning.py DATA_DIR NUM_TRIALS [--model mlp|convnet] [--epochs 2] [--accelerator cpu|gpu]

Prints the seconds of the start (imports), then the validation accuracy and the seconds of each trial.
"""

import argparse
import time


def main() -> None:
    """Train NUM_TRIALS trials, of seeds 0, 1, and so on."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("num_trials", type=int)
    parser.add_argument("--model", default="mlp", choices=["mlp", "convnet"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "gpu"])
    arguments = parser.parse_args()
    from stock_modules import train_trial

    print(f"start: {time.perf_counter() - started:.2f} s", flush=True)
    for seed in range(arguments.num_trials):
        started = time.perf_counter()
        accuracy = train_trial(
            seed,
            data_dir=arguments.data_dir,
            model=arguments.model,
            epochs=arguments.epochs,
            accelerator=arguments.accelerator,
        )
        print(f"seed {seed}: {accuracy:.4f}, {time.perf_counter() - started:.2f} s", flush=True)


if __name__ == "__main__":
    main()
