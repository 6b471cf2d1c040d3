"""Study as data: its file, factors, design, seeds, metric and claims. Nothing here imports torch."""
