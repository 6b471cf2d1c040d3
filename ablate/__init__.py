"""The command `ablate` of ablation_suite: arguments in, calls, printed results out. The only package that sees all."""
