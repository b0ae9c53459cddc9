"""pruning: which weights to remove, and what that saves. Works on any torch.nn.Module."""
