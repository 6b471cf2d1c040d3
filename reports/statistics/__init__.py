"""Statistics: arrays in, frozen results out. No ledger, no words."""
