"""The names of a trial's files; runs/run_folder.py says what is in them."""

RESULT, FAILURE, STOPPED = "result.json", "failure.json", "stopped.json"
ENDINGS = (RESULT, FAILURE, STOPPED)
"""One of these says how a trial ended."""
SPEC, REQUESTED_SPEC = "spec.json", "requested_spec.json"
REQUESTED_SPEC_0_1 = "asked.json"
"""The name of REQUESTED_SPEC in version 0.1."""
CHECKPOINT, PROMOTED = "checkpoint.json", "checkpoint-promoted.json"
"""What a trial under way goes on from, and after how many rungs halving let it go on."""
