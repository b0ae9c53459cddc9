"""Camera branches: image backbones, necks, and view transforms to a bird's-eye-view map."""
