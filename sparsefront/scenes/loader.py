"""Batches of a set of scenes, epoch after epoch, in this process or by workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from sparsefront.errors import InputError
from sparsefront.scenes.batch import SensorBatch
from sparsefront.scenes.data_set import DataSet
from sparsefront.scenes.frame import BadSample
from sparsefront.scenes.loading.assemble import DecodedFrame, assemble, decode_frame
from sparsefront.scenes.loading.augment import AugmentSpec
from sparsefront.scenes.loading.collate import collate
from sparsefront.scenes.loading.images import ImageSpec
from sparsefront.scenes.loading.paste import paste_objects
from sparsefront.scenes.loading.paste_database import open_database

CACHE_BYTES = 2 << 30
"""Decoded frames kept per set of scenes; epochs and trials read the same frames again."""
Keys = list[tuple[int, int]]

__all__ = ["AugmentSpec", "ImageSpec", "Loader", "collate"]


class Loader:
    """Batches of a set of scenes. Each `iter` is the next epoch, which depends on (seed, epoch).

    A frame that cannot be read raises BadSample or is noted in `scenes.skipped` (token -> reason),
    as `scenes.on_bad_sample` says. `workers` are processes that read ahead; with 0 this process
    reads and keeps decoded frames.
    """

    def __init__(
        self,
        scenes: DataSet,
        image: ImageSpec,
        augment: AugmentSpec | None,
        batch_size: int,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        workers: int = 0,
    ) -> None:
        self.scenes = scenes
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.frames = scenes.training_frames(seed) if shuffle else np.arange(len(scenes.tokens))
        self._read = _Frames(scenes, image, augment, seed, 0 if workers else 1)
        self._order = _Order()
        self._pool = self._workers(workers) if workers else None
        self._epoch, self._first = 0, 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.frames), self.batch_size)
        return whole + (1 if rest and not self.drop_last else 0)

    def start_at(self, batch: int) -> None:
        """The next `iter` begins after so many batches, counted over epochs."""
        self._epoch, self._first = divmod(batch, max(1, len(self)))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Indices of an epoch's frames, in turn."""
        order = self.frames.copy()
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        return order

    def __iter__(self) -> Iterator[SensorBatch]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        first, self._first = self._first, 0
        order = self.order(epoch)
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        chosen = [
            [(epoch, int(index)) for index in order[start : start + self.batch_size]]
            for start in starts[first:]
        ]
        for batch in self._batches(chosen):
            self.scenes.skipped.update(batch.skipped)
            if batch.failed is not None:
                raise batch.failed
            if batch.frames is not None:
                yield batch.frames

    def sample(self, index: int) -> SensorBatch:
        """One frame as a batch of 1, not augmented."""
        return assemble([self._read.decode(index)], None, [np.random.default_rng()])

    def decode(self, index: int) -> tuple[object, DecodedFrame]:
        """The key in `scenes.decoded` under which a frame is kept, and the decoded frame."""
        return (self.scenes.tokens[index], self._read.image), self._read.decode(index)

    def _batches(self, chosen: list[Keys]) -> Iterator[_Batch]:
        if self._pool is None:
            yield from map(self._read.__getitems__, chosen)
            return
        self._order.chosen = chosen
        yield from self._pool

    def _workers(self, count: int) -> DataLoader[_Batch]:
        return DataLoader(
            self._read,  # type: ignore[arg-type]  # asked for whole batches only
            batch_sampler=self._order, num_workers=count, collate_fn=_as_it_is,
            persistent_workers=True, multiprocessing_context="spawn",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """What could be read, None if nothing; the tokens that may be left out, with the reason; and
    why reading ended, as data: an error that crosses processes by itself becomes a traceback.
    """

    frames: SensorBatch | None
    skipped: dict[str, str]
    failed: InputError | None = None


@dataclass
class _Order:
    """Keys of the batches of the present epoch."""

    chosen: Sequence[Keys] = ()

    def __iter__(self) -> Iterator[Keys]:
        return iter(self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)


@dataclass(frozen=True)
class _Frames:
    """Reads frames by (epoch, index); what a worker process holds."""

    scenes: DataSet
    image: ImageSpec
    augment: AugmentSpec | None
    seed: int
    keep: int

    def __len__(self) -> int:
        return len(self.scenes.tokens)

    def __getitems__(self, keys: Keys) -> _Batch:
        found, randoms = [], []
        skipped: dict[str, str] = {}
        for epoch, index in keys:
            try:
                found.append(self._paste(self.decode(index), epoch, index))
                randoms.append(np.random.default_rng([self.seed, epoch, index, 1]))
            except InputError as error:
                may_skip = isinstance(error, BadSample) and self.scenes.on_bad_sample == "skip"
                if not may_skip:
                    return _Batch(frames=None, skipped=skipped, failed=error)
                skipped[self.scenes.tokens[index]] = str(error)
        frames = assemble(found, self.augment, randoms) if found else None
        return _Batch(frames=frames, skipped=skipped)

    def _paste(self, found: DecodedFrame, epoch: int, index: int) -> DecodedFrame:
        """Pastes objects where the augmentation asks for them."""
        paste = None if self.augment is None else self.augment.paste
        if paste is None or (paste.epochs is not None and epoch >= paste.epochs):
            return found
        random = np.random.default_rng([self.seed, epoch, index, 2])
        database = open_database(self.scenes)
        return replace(found, frame=paste_objects(found.frame, database, paste, random))

    def decode(self, index: int) -> DecodedFrame:
        """Decodes a frame, or takes it from those that this process keeps."""
        token = self.scenes.tokens[index]
        cache, key = self.scenes.decoded, (token, self.image)
        if isinstance(found := cache.get(key), DecodedFrame):
            return found
        found = decode_frame(self.scenes.frame(token), self.image)
        if self.keep and found.nbytes * (len(cache) + 1) < CACHE_BYTES:
            cache[key] = found
        return found


def _as_it_is(batch: Any) -> Any:
    return batch
