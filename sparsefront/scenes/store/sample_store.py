"""The tables of a nuScenes-format data set as memory-mapped columns: opened in milliseconds, one
copy a machine however many processes read it.

store_writer.py writes it once from the tables, and again when a table changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sparsefront.errors import InputError
from sparsefront.files.whole_folder import whole_folder
from sparsefront.scenes.store.json_table import TABLES

SCHEMA = 1
PARTS = ("samples", "data", "calibrated", "boxes", "instances")


@dataclass(frozen=True, kw_only=True)
class SampleStore:
    """Columns of one data set. Rows refer to rows by number, NONE where there is none.

    samples     by scene, then time: token, scene, timestamp (us), first_box and num_boxes (rows of
                boxes), data (row of data of each of `channels`)
    data        files of LiDAR and radar sweeps and of keyframe images: path, calibrated, timestamp,
                ego_translation [3] (m), ego_rotation [4] (w, x, y, z), prev, width, height
    calibrated  sensors on the vehicle: translation [3], rotation [4], intrinsic [9] (0 without)
    boxes       annotations, those of a sample together and in the table's order: token, sample,
                instance, category, label (of DETECTION_CLASSES), attribute, num_attributes,
                center [3], size [3] (width, length, height), rotation [4], velocity [3] (m/s; NaN
                where the devkit gives none), num_lidar_pts, num_radar_pts; global frame
    instances   token
    scenes      name, token and location of each; channels, categories, attributes: names
    """

    folder: Path
    tables: dict[str, pa.Table]
    channels: tuple[str, ...]
    categories: tuple[str, ...]
    attributes: tuple[str, ...]
    scenes: tuple[dict[str, str], ...]

    def numbers(self, table: str, name: str) -> np.ndarray:
        """A column as an array over the mapped file, [rows] or [rows, width]; read-only."""
        column = self.tables[table].column(name)
        values = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if not pa.types.is_fixed_size_list(column.type):
            return np.asarray(values.to_numpy(zero_copy_only=True))
        flat = values.flatten().to_numpy(zero_copy_only=True)
        return np.asarray(flat.reshape(-1, column.type.list_size))

    def text(self, table: str, name: str, row: int) -> str:
        """One entry of a column of strings."""
        return str(self.tables[table].column(name)[row].as_py())

    def texts(self, table: str, name: str, rows: np.ndarray) -> list[str]:
        """Several entries of a column of strings."""
        found: list[str] = self.tables[table].column(name).take(pa.array(rows)).to_pylist()
        return found


def open_store(root: Path, version: str, folder: Path | None = None) -> SampleStore:
    """The store of root/version, made first where there is none or a table has changed.

    folder  where stores are kept; None: `stores_folder()`. InputError where the tables are damaged
    or the folder cannot be written.
    """
    source = fingerprint(root, version)
    kept = folder or stores_folder()
    stem = f"{root.name}-{version}-{_short(str(root.resolve()))}"
    return _open(root, version, kept / f"{stem}-{_short(json.dumps([SCHEMA, source]))}")


def require_same(store: SampleStore, name: str) -> None:
    """InputError unless it is the store of this name: rows of another one are other frames."""
    if store.folder.name != name:
        raise InputError(
            f"store: {store.folder} is not {name}, the tables have changed during the run; "
            "allowed: the same tables for all processes of a run"
        )


def stores_folder() -> Path:
    """$SPARSEFRONT_STORES, else the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("SPARSEFRONT_STORES") or cache / "sparsefront" / "stores")


def fingerprint(root: Path, version: str) -> list[list[Any]]:
    """Name, size and time of change of every table. InputError naming one that is missing."""
    found = []
    for name in TABLES:
        path = root / version / f"{name}.json"
        if not path.is_file():
            raise InputError(f"{path}: is missing; allowed: the tables of a nuScenes data root")
        status = path.stat()
        found.append([name, status.st_size, status.st_mtime_ns])
    return found


@lru_cache(maxsize=8)
def _open(root: Path, version: str, folder: Path) -> SampleStore:
    if not folder.is_dir():
        with lock_folder(folder):
            if not folder.is_dir():
                _write(root, version, folder)
    about = json.loads((folder / "store.json").read_text())
    tables = {name: _map_table(folder / f"{name}.arrow") for name in PARTS}
    return SampleStore(
        folder=folder, tables=tables, channels=tuple(about["channels"]),
        categories=tuple(about["categories"]), attributes=tuple(about["attributes"]),
        scenes=tuple(about["scenes"]),
    )  # fmt: skip


def _write(root: Path, version: str, folder: Path) -> None:
    """Writes the store whole or not at all; removes stores of earlier tables of the same data."""
    from sparsefront.scenes.store.store_writer import write_store

    earlier = folder.name.rpartition("-")[0]
    with whole_folder(folder) as unfinished:
        write_store(root, version, unfinished)
    for old in folder.parent.glob(f"{earlier}-*"):
        if old != folder and old.is_dir():
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lets one process at a time on this machine make a folder; the lock ends with its process."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f"{folder.name.rpartition('-')[0]}.lock").open("w")
    except OSError as error:
        raise InputError(
            f"store: {folder.parent} cannot be written ({error.strerror}); allowed: a folder of "
            "yours in $SPARSEFRONT_STORES"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _map_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
