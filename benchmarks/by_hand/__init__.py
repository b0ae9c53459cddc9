"""The demo's search as one writes it by hand from Ray Tune, OptunaSearch, torch.nn.utils.prune,
nuscenes-devkit and MLflow's callback: what the demo sweep is compared with.

Of the project it takes what a user has already: the model, its checkpoint, the frames and a counter
of MACs; and the attributes by speed, so that the scores are of the same boxes.
"""
