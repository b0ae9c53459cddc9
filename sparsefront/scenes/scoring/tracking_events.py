"""What happens to each label in each frame (Bernardin and Stiefelhagen 2008, CLEAR MOT), compiled:
matches, switches, misses and false positives at one score threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sparsefront.scenes.scoring.assignment import assign
from sparsefront.scenes.scoring.box_table import Floats, Ints

FREE = -1
MISS, MATCH, SWITCH = 0, 1, 2


class ClassFrames(NamedTuple):
    """The frames with boxes of one class. Of frame f the labels are rows wanted_at[f] to
    wanted_at[f + 1], the predictions likewise.

    wanted, found        [W], [P] track of each label, of each prediction, from 0
    score                [P] of each prediction
    distance, begins     of frame f row by row from begins[f] (tracking_distances.py), m
    to_best, best_begins the same to the best-scored prediction of the frame alone
    """

    wanted_at: Ints
    found_at: Ints
    wanted: Ints
    found: Ints
    score: Floats
    distance: Floats
    begins: Ints
    to_best: Floats
    best_begins: Ints


class Events(NamedTuple):
    """What happened at one score threshold.

    kind             [W] of each label: MISS, MATCH or SWITCH
    number           [F] of each frame among those that are not empty
    frames           how many those are
    false_positives  predictions without a label
    distance         sum over matches and switches, m
    scores           of the matched predictions, switches left out
    """

    kind: Ints
    number: Ints
    frames: int
    false_positives: int
    distance: float
    scores: Floats


class TrackTimes(NamedTuple):
    """Of each label track, in frames that are not empty: life [T], times found [T], frames until
    it was first found [T], its longest gap [T] (both 0 where never), times that it was lost and
    found again [T].
    """

    life: Ints
    found: Ints
    late: Ints
    gap: Ints
    fragments: Ints


@njit(cache=True, nogil=True)
def frame_events(data: ClassFrames, threshold: float, limit: float) -> Events:
    """Events over predictions of at least the threshold, pairs nearer than limit (m)."""
    kind = np.full(len(data.wanted), MISS, np.int64)
    number = np.zeros(len(data.begins), np.int64)
    partner = np.full(
        _count_tracks(data.wanted), FREE, np.int64
    )  # of the last match, whenever that was
    matched_at = np.full(_count_tracks(data.found), -1, np.int64)
    scores, num_scores = np.zeros(len(data.score)), 0
    frames = false_positives = 0
    total = 0.0
    for frame in range(len(data.begins)):
        number[frame] = frames
        kept = _rows_above(data, frame, threshold)
        first, last = data.wanted_at[frame], data.wanted_at[frame + 1]
        if first == last and len(kept) == 0:
            continue
        wanted, found = data.wanted[first:last], data.found[kept]
        distance = _distances(data, frame, kept)
        mine = _keep_partners(wanted, found, distance, partner, limit)
        _assign_rest(distance, mine, limit)
        for row in range(len(wanted)):
            if mine[row] == FREE:
                continue
            total += distance[row, mine[row]]
            before, now = partner[wanted[row]], found[mine[row]]
            partner[wanted[row]] = now
            switched = before not in (FREE, now)
            kind[first + row] = SWITCH if switched else MATCH
            if not switched:
                matched_at[now] = frames
        false_positives += len(kept) - (mine != FREE).sum()
        for row in kept:
            if matched_at[data.found[row]] == frames:
                scores[num_scores] = data.score[row]
                num_scores += 1
        frames += 1
    return Events(kind, number, frames, false_positives, total, scores[:num_scores])


@njit(cache=True, nogil=True)
def track_times(data: ClassFrames, events: Events) -> TrackTimes:
    """How long each label track was found, missed and interrupted."""
    tracks = _count_tracks(data.wanted)
    life, found = np.zeros(tracks, np.int64), np.zeros(tracks, np.int64)
    late, gap = np.zeros(tracks, np.int64), np.zeros(tracks, np.int64)
    fragments, lost = np.zeros(tracks, np.int64), np.zeros(tracks, np.bool_)
    since, last = np.zeros(tracks, np.int64), np.zeros(tracks, np.int64)  # not found since
    for frame in range(len(data.begins)):
        now = events.number[frame]
        for row in range(data.wanted_at[frame], data.wanted_at[frame + 1]):
            track = data.wanted[row]
            if life[track] == 0:
                since[track] = now
            life[track] += 1
            last[track] = now
            if events.kind[row] == MISS:
                lost[track] = True
                continue
            if found[track] == 0:
                late[track] = now - since[track]
            elif lost[track]:
                fragments[track] += 1
            lost[track] = False
            found[track] += 1
            gap[track] = max(gap[track], now - since[track])
            since[track] = now + 1
    for track in range(tracks):
        if found[track] > 0:  # the gap to the track's end
            gap[track] = max(gap[track], last[track] + 1 - since[track])
    return TrackTimes(life, found, late, gap, fragments)


@njit(cache=True, nogil=True)
def _count_tracks(numbers: Ints) -> int:
    return numbers.max() + 1 if len(numbers) else 0


@njit(cache=True, nogil=True)
def _rows_above(data: ClassFrames, frame: int, threshold: float) -> Ints:
    """Rows of a frame's predictions of at least the threshold."""
    rows = np.arange(data.found_at[frame], data.found_at[frame + 1])
    return rows[data.score[rows] >= threshold]


@njit(cache=True, nogil=True)
def _distances(data: ClassFrames, frame: int, kept: Ints) -> Floats:
    """[labels, kept predictions]"""
    rows = data.wanted_at[frame + 1] - data.wanted_at[frame]
    columns = data.found_at[frame + 1] - data.found_at[frame]
    distance = np.empty((rows, len(kept)))
    for row in range(rows):
        if len(kept) == 1:
            distance[row, 0] = data.to_best[data.best_begins[frame] + row]
            continue
        start = data.begins[frame] + row * columns - data.found_at[frame]
        for at in range(len(kept)):
            distance[row, at] = data.distance[start + kept[at]]
    return distance


@njit(cache=True, nogil=True)
def _keep_partners(
    wanted: Ints, found: Ints, distance: Floats, partner: Ints, limit: float
) -> Ints:
    """Column of each label that stays with its last partner, FREE for the others."""
    mine = np.full(len(wanted), FREE, np.int64)
    taken = np.zeros(len(found), np.bool_)
    for row in range(len(wanted)):
        before = partner[wanted[row]]
        if before == FREE:
            continue
        for column in range(len(found)):
            if found[column] == before and not taken[column]:
                if distance[row, column] < limit:
                    mine[row] = column
                    taken[column] = True
                break
    return mine


@njit(cache=True, nogil=True)
def _assign_rest(distance: Floats, mine: Ints, limit: float) -> None:
    """Fill free labels: as many pairs as can be, of the least sum of distances."""
    rows, columns = distance.shape
    taken = np.zeros(columns, np.bool_)
    for row in range(rows):
        if mine[row] != FREE:
            taken[mine[row]] = True
    by_row, by_column = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    allowed = np.zeros((rows, columns), np.bool_)
    farthest = 0.0
    for row in range(rows):
        if mine[row] != FREE:
            continue
        for column in range(columns):
            if not taken[column] and distance[row, column] < limit:
                allowed[row, column] = True
                by_row[row] += 1
                by_column[column] += 1
                farthest = max(farthest, distance[row, column])
    if by_row.sum() == 0:
        return
    if by_row.max() == 1 and by_column.max() == 1:  # nothing to choose
        for row in range(rows):
            if by_row[row] == 1:
                mine[row] = allowed[row].argmax()
        return
    # motmetrics' price of a pair that is not allowed; ties depend on the whole matrix
    dear = 2 * min(rows, columns) * (farthest + 1) + 1
    chosen = assign(np.where(allowed, distance, dear))
    for row in range(rows):
        if chosen[row] != -1 and allowed[row, chosen[row]]:
            mine[row] = chosen[row]
