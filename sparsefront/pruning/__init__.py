"""Pruning decides which weights to remove and counts what that saves, for any torch.nn.Module."""
