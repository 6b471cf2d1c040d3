"""The shipped studies, a YAML file each, with the question it answers."""
