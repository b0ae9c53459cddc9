"""Map targets of the nuScenes map expansion."""
