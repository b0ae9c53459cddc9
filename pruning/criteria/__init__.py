"""pruning/criteria."""
