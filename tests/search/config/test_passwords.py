"""No password of a URI is printed or stored."""

from __future__ import annotations

import pytest

from sparsefront.search.config.passwords import mask_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@db/x", "postgresql://me:***@db/x"),
        ("at mysql://:se/cr@et@db:5432/x?a=b now", "at mysql://:***@db:5432/x?a=b now"),
        ("mysql://db/x?user=me&password=secret&a=b", "mysql://db/x?user=me&password=***&a=b"),
        ("me:secret@db/x", "me:***@db/x"),
        ("sqlite:////runs/study.db", "sqlite:////runs/study.db"),
        ("http://mlflow:5000/#/experiments/1", "http://mlflow:5000/#/experiments/1"),
        ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
    ],
)  # fmt: skip
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert mask_passwords(text) == shown
