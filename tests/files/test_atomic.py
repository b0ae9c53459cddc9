"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from sparsefront.errors import InputError
from sparsefront.files.atomic import (
    drop_torn_line,
    read_json,
    replacing,
    sha256_of,
    write_bytes,
    write_json,
)


def test_file_takes_its_place_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        temporary.write_text("{}")
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]
    assert path.read_text() == "{}"
    assert path.stat().st_mode & 0o777 == 0o644


def test_failing_writer_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_data_that_are_no_json_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
    assert read_json(path) == {"a": 1}


def test_floats_keep_every_bit_in_json(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308]
    write_json(tmp_path / "file.json", values)
    assert read_json(tmp_path / "file.json") == values
    assert (tmp_path / "file.json").read_text() == json.dumps(values, indent=2) + "\n"


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe", b""])
def test_unreadable_json_is_an_input_error_of_one_line(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"file\.json: not readable as JSON: ") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "left"),
    [(b"one\ntwo\nthr", b"one\ntwo\n"), (b"one\n", b"one\n"), (b"on", b""), (b"", b"")],
)
def test_only_a_torn_last_line_is_dropped(tmp_path: Path, content: bytes, left: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    drop_torn_line(path)
    assert path.read_bytes() == left
    drop_torn_line(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_sha256_is_of_the_content_and_none_without_a_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"content")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()
    assert sha256_of(tmp_path / "none") is None
