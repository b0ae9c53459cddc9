"""From frames to batches: decode, augment, paste, collate."""
