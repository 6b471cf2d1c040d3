"""Conditions under which trials share a loop: structure, shapes, memory and proof."""
