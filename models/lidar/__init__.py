"""models/lidar."""
