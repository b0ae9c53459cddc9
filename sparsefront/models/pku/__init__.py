"""BEVFusion of ADLab-AutoDrive (Liang et al., NeurIPS 2022), "PKU" in the pruning papers."""
