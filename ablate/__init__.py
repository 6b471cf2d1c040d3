"""The command `ablate`: arguments in, calls, printed results out. The only package that sees all others."""
