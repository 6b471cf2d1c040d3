"""A trial and its result as plain data, and the identity of a trial."""
