"""Command `ablate` of ablation_suite. The only package that imports all others."""
