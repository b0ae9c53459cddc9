"""How far predicted and measured losses of a sweep agree, as its folder has it."""

from __future__ import annotations

from sparsefront.files.atomic import read_json
from sparsefront.search.config.agreement import Agreement
from sparsefront.search.runs.run_folder import RunFolder


def read_agreement(run: RunFolder) -> dict[str, Agreement]:
    found = read_json(run.agreement_file) if run.agreement_file.is_file() else {}
    return {name: Agreement(**values) for name, values in found.items()}
