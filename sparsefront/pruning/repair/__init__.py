"""What a cut leaves wrong and costs no training to mend: norm statistics, the kept weights."""
