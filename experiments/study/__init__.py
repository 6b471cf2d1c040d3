"""A study as data: its file, factors, design, seeds, metric and claims. No torch."""
