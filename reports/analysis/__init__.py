"""Analysis of a ledger: one pandas frame for each kind of statement."""
