"""Data of a fused group: data modules per seed, the rows that trials form, and their stacked batches."""
