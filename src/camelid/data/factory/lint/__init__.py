"""Faults of a data set, found without changing it: rules over single rows, and checks that see all of them."""
