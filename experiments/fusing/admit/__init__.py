"""The conditions under which trials share a loop: structure, memory and proof."""
