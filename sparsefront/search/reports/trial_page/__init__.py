"""One trial looked at closely: its layers, its feature maps, its detections."""
