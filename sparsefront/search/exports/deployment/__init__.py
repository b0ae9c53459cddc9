"""A model as an inference engine takes it: dense parts, and the LiDAR backbone's sparse graph."""
