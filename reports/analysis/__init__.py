"""Analysis of a ledger, with one pandas frame for each kind of result."""
