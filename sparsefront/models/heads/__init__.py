"""Heads on the fused map: boxes (CenterPoint, TransFusion, anchors) and map segmentation."""
