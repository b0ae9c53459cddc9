"""Files and folders that are written whole or not at all, and read with errors of one line."""
