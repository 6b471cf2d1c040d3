"""Layers that compute all trials of a group at once, without vmap."""
