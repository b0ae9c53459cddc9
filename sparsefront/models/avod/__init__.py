"""AVOD-FPN (Ku et al., IROS 2018): boxes from anchors seen in the image and from above."""
