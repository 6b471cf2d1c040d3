"""Statistics as pure functions: numpy arrays in, frozen results out."""
