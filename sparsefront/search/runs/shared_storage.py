"""Runs behind a URI: files between shared storage and a folder on this machine that stands for it.

Everything else works on local paths. A file arrives whole or not at all: object stores see to that
themselves, elsewhere it is written under a hidden name and renamed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sparsefront.errors import DISK_FULL, ExecutionError, InputError, one_line_with_type
from sparsefront.files.atomic import replacing, write_bytes
from sparsefront.search.config.trial_files import ENDINGS, REQUESTED_SPEC, REQUESTED_SPEC_0_1, SPEC

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
"""Protocols without folders, whose uploads appear whole."""
NEVER_CHANGED = (*ENDINGS, SPEC, REQUESTED_SPEC, REQUESTED_SPEC_0_1, "channels.json")
WAITS_S = (1.0, 5.0, 20.0)
T = TypeVar("T")


class StorageLost(ExecutionError):
    """Shared storage does not answer or refuses; nothing is known to be wrong with the trial."""


def is_uri(where: str | Path) -> bool:
    return "://" in str(where)


@dataclass(frozen=True, kw_only=True)
class SharedStorage:
    """Methods take paths under `local`, which stands for `uri`; StorageLost, one line, where the
    storage fails for longer than a few attempts.

    option: of the command line, as errors name it
    """

    uri: str
    local: Path
    option: str = "--runs"

    def check(self) -> None:
        """InputError for a protocol that is not known or whose package is not installed."""
        from fsspec.registry import known_implementations

        protocol = self._protocol()
        try:
            self._opened()
        except ImportError as error:
            package = known_implementations[protocol]["class"].partition(".")[0]
            raise InputError(
                f"{self._named()}: {_reason(error)}; needed: `pip install {package}`, on every node"
            ) from error
        except Exception as error:
            raise InputError(
                f"{self._named()}: {_reason(error)}; allowed: a path, or a URI that fsspec knows, "
                "such as s3://BUCKET/runs, gs://BUCKET/runs or file:///FOLDER"
            ) from error

    def exists(self, file: Path) -> bool:
        """InputError where the storage cannot be read at all, told without trying again."""
        try:
            return bool(self._opened().find(self._remote(file)))
        except Exception as error:
            raise InputError(
                f"{self._named()}: cannot be read: {_reason(error)}; allowed: storage that exists "
                "and that the credentials of this machine open"
            ) from error

    def push(self, *files: Path) -> None:
        """Puts files into the storage, one after another; those that are not there are left out."""
        for file in files:
            if file.is_file():
                self._persistently(partial(self._put, file))

    def pull(self, folder: Path, *patterns: str) -> None:
        """Gets everything below a folder whose name fits, but for hidden files and those that are
        here already and never change.
        """
        self._persistently(lambda: self._pull(folder, patterns))

    def fetch(self, file: Path) -> None:
        """Gets one file unless it is here."""
        if not file.is_file():
            self._persistently(lambda: self._get({self._remote(file): file}))

    def names(self, folder: Path) -> list[str]:
        """The files right below a folder, hidden ones too."""
        top = f"{self._remote(folder)}/"
        found = self._persistently(lambda: self._opened().find(self._remote(folder)))
        inside = sorted(path.removeprefix(top) for path in found)
        return [name for name in inside if "/" not in name]

    def folders_with(self, name: str) -> list[str]:
        """The folders right below the root that hold such a file."""
        pattern = f"{self._remote(self.local)}/*/{name}"
        found = self._persistently(lambda: self._opened().glob(pattern))
        return sorted(path.split("/")[-2] for path in found)

    def remove(self, *files: Path) -> None:
        """Removes files, in this order."""
        for file in files:
            self._persistently(partial(self._remove, file))

    def read(self, file: Path) -> bytes | None:
        """A small file's content; None where there is none. Tried once."""
        try:
            content: bytes = self._opened().cat_file(self._remote(file))
            return content
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._lost(error) from error

    def write(self, file: Path, content: bytes) -> None:
        """A small file. Tried once."""
        try:
            write_bytes(file, content)
            self._put(file)
        except Exception as error:
            raise self._lost(error) from error

    def create(self, file: Path, content: bytes) -> bool:
        """Writes a small file unless there is one: of several who try, one succeeds in an object
        store; elsewhere several may, and the last one's content stays.
        """
        if self._protocol() not in OBJECT_STORES:
            if self.read(file) is not None:
                return False
            self.write(file, content)
            return True
        try:
            self._opened().pipe_file(self._remote(file), content, mode="create")
            return True
        except FileExistsError:
            return False
        except Exception as error:
            raise self._lost(error) from error

    def _pull(self, folder: Path, patterns: tuple[str, ...]) -> None:
        found = self._opened().find(self._remote(folder), detail=True)
        wanted = {}
        for name, info in found.items():
            file = self.local / name.removeprefix(f"{self._remote(self.local)}/")
            if file.name.startswith(".") or not any(fnmatch(file.name, p) for p in patterns):
                continue
            here = file.name in NEVER_CHANGED and file.is_file()
            if not here or file.stat().st_size != info["size"]:
                wanted[name] = file
        if wanted:
            self._get(wanted)

    def _get(self, wanted: dict[str, Path]) -> None:
        with ExitStack() as unfinished:
            here = [unfinished.enter_context(replacing(file)) for file in wanted.values()]
            self._opened().get(list(wanted), [str(file) for file in here])

    def _put(self, file: Path) -> None:
        storage, target = self._opened(), self._remote(file)
        if self._protocol() in OBJECT_STORES:
            storage.put_file(str(file), target)
            return
        hidden = self._remote(_hidden(file))
        storage.makedirs(hidden.rpartition("/")[0], exist_ok=True)
        storage.put_file(str(file), hidden)
        storage.mv(hidden, target)

    def _remove(self, file: Path) -> None:
        try:
            self._opened().rm_file(self._remote(file))
        except FileNotFoundError:
            return

    def _persistently(self, work: Callable[[], T]) -> T:
        """Tried again for half a minute, as a storage of many machines has its moments."""
        for wait_s in WAITS_S:
            try:
                return work()
            except PermissionError as error:
                raise self._lost(error) from error
            except Exception as error:
                if isinstance(error, OSError) and error.errno in DISK_FULL:
                    raise
                time.sleep(wait_s)
        try:
            return work()
        except Exception as error:
            raise self._lost(error) from error

    def _opened(self) -> Any:
        """What was listed before is forgotten: other machines write there too."""
        from fsspec.core import url_to_fs

        storage, _root = url_to_fs(self.uri)
        storage.invalidate_cache()
        return storage

    def _remote(self, file: Path) -> str:
        from fsspec.core import url_to_fs

        root = str(url_to_fs(self.uri)[1]).rstrip("/")
        inside = file.relative_to(self.local).as_posix()
        return root if inside == "." else f"{root}/{inside}"

    def _protocol(self) -> str:
        return self.uri.partition("://")[0]

    def _named(self) -> str:
        return f"{self.option}: value {self.uri!r}"

    def _lost(self, error: Exception) -> StorageLost:
        return StorageLost(f"{self._named()}: shared storage fails: {_reason(error)}")


def _hidden(file: Path) -> Path:
    return file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")


def _reason(error: Exception) -> str:
    """With the kind of error, as OSErrors of fsspec's packages may have no text."""
    return one_line_with_type(error, 300)
