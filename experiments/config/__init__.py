"""Configurations and the objects they describe. The only package that imports jsonargparse."""
