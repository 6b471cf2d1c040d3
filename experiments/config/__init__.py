"""Configurations and the objects they describe. No other package imports jsonargparse."""
