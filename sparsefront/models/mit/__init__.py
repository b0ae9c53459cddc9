"""BEVFusion of mit-han-lab (Liu et al., ICRA 2023; revision db75150): streams, fuser, heads."""
