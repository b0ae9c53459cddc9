"""Prepares tracks as the official tracking score does: one score a track, gaps filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsefront.scenes.scoring.box_table import Floats, Ints
from sparsefront.scenes.scoring.track_table import TrackFrames, TrackTable


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """R boxes, frame by frame.

    frame   [R] number of the frame, ascending
    label   [R] index into DETECTION_CLASSES
    track   [R] number of the track, from 0, another one in each scene
    given   [R] number of the track in the table that it came from
    center  [R, 2] m in the global frame
    score   [R] mean score of the track
    """

    frame: Ints
    label: Ints
    track: Ints
    given: Ints
    center: Floats
    score: Floats

    def __len__(self) -> int:
        return len(self.frame)


def interpolate_tracks(table: TrackTable, frames: TrackFrames) -> Tracks:
    """The table's tracks: scores averaged over each, then holes filled. In a frame the boxes of the
    table come first, in their order, then those of filled holes, in the order in which their
    tracks began.
    """
    order = np.argsort(table.boxes.sample, kind="stable")
    table = table[order]
    track = _number_by_scene(frames.scene[table.boxes.sample], table.track)
    own = Tracks(
        frame=table.boxes.sample, label=table.boxes.label, track=track, given=table.track,
        center=table.boxes.center[:, :2], score=track_means(track, table.boxes.score)[track],
    )  # fmt: skip
    new = _fill_holes(own, frames)
    began = np.full(int(track.max(initial=-1)) + 1, len(own))
    np.minimum.at(began, track, np.arange(len(own)))
    place = np.concatenate([np.arange(len(own)), len(own) + began[new.track]])
    frame = np.concatenate([own.frame, new.frame])
    order = np.lexsort((place, frame))
    return Tracks(
        frame=frame[order],
        label=np.concatenate([own.label, new.label])[order],
        track=np.concatenate([own.track, new.track])[order],
        given=np.concatenate([own.given, new.given])[order],
        center=np.concatenate([own.center, new.center])[order],
        score=np.concatenate([own.score, new.score])[order],
    )


def track_means(track: Ints, score: Floats) -> Floats:
    """Mean score of each track, to the bit what np.mean says of its list: thresholds are compared
    with these.
    """
    count = np.bincount(track)
    begins = np.cumsum(count) - count
    score = score[np.argsort(track, kind="stable")]
    means = np.zeros(len(count))
    for length in np.unique(count[count > 0]):
        mine = np.flatnonzero(count == length)
        means[mine] = score[begins[mine][:, None] + np.arange(length)].mean(axis=1)
    return means


def _number_by_scene(scene: Ints, track: Ints) -> Ints:
    """Tracks numbered from 0; the same number in two scenes is two tracks."""
    names, number = np.unique(track, return_inverse=True)
    found: Ints = np.unique(scene * len(names) + number, return_inverse=True)[1]
    return found


def _fill_holes(own: Tracks, frames: TrackFrames) -> Tracks:
    """A box for each frame that a track leaves out between two boxes, linear in time. The official
    tool weighs the later box by the time that is left until it, so a box near the later end lies
    near the earlier one; so it is here.
    """
    order = np.argsort(own.track, kind="stable")
    left, right = order[:-1], order[1:]
    hole = np.where(
        own.track[left] == own.track[right], own.frame[right] - own.frame[left] - 1, 0
    ).clip(0)
    ends = np.cumsum(hole)
    within = np.arange(hole.sum()) - np.repeat(ends - hole, hole)
    left, right = np.repeat(left, hole), np.repeat(right, hole)
    frame = own.frame[left] + 1 + within
    before, after = frames.timestamp[own.frame[left]], frames.timestamp[own.frame[right]]
    share = (after - frames.timestamp[frame]) / (after - before)
    return Tracks(
        frame=frame, label=own.label[right], track=own.track[right], given=own.given[right],
        center=(1.0 - share)[:, None] * own.center[left] + share[:, None] * own.center[right],
        score=(1.0 - share) * own.score[left] + share * own.score[right],
    )  # fmt: skip
