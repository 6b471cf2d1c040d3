"""The name that nobody else has. Importing it makes the names of the suite's packages the suite's: see `names`."""

from .names import claim_names

claim_names()
