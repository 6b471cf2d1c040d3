"""Package with a unique name. Importing it reserves the names of the suite's packages: see `names`."""

from .names import claim_names

claim_names()
