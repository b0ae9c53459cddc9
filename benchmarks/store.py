"""The sample store beside nuscenes-devkit's tables, on made tables of a given number of scenes
(850 is the size of trainval): time to make it, to open a split, and memory of a process that has.
`python -m benchmarks.store 850` takes minutes and 4 GB under the temporary folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SAMPLES, BOXES = 40, 34
RATES = {"LIDAR_TOP": 10} | {f"RADAR_{i}": 6 for i in range(5)}
CAMERAS = ("FRONT", "FRONT_RIGHT", "FRONT_LEFT", "BACK", "BACK_LEFT", "BACK_RIGHT")
RATES |= {f"CAM_{name}": 6 for name in CAMERAS}

CODE = """
import resource, sys, time
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{imports}
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
{work}
took = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(took, (peak - base) / 2**20)
"""
OURS = (
    "from scenes.nuscenes import NuScenesScenes, NuScenesSpec",
    "s = NuScenesScenes(NuScenesSpec(root=sys.argv[1], split='all')); s.lidar_to_global("
    "s.tokens[-1])",
)
THEIRS = (
    "from nuscenes import NuScenes",
    "n = NuScenes('v1.0-mini', sys.argv[1], verbose=False)",
)


def speed(scenes: int = 20) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        write_tables(root / "v1.0-mini", scenes)
        os.environ["SPARSEFRONT_STORES"] = f"{folder}/stores"
        made, _ = measured(*OURS, root)
        opened, ours = measured(*OURS, root)
        devkit, theirs = measured(*THEIRS, root)
        size = sum(p.stat().st_size for p in Path(folder, "stores").rglob("*")) / 2**20
        print(
            f"sample store, {scenes} scenes: made in {made:.1f} s ({size:.0f} MiB), opened in "
            f"{opened:.2f} s (+{ours:.2f} GiB), devkit's tables {devkit:.1f} s (+{theirs:.2f} GiB)",
            flush=True,
        )


def measured(imports: str, work: str, root: Path) -> tuple[float, float]:
    """Seconds and GiB of more memory, in a process of its own."""
    code = CODE.format(imports=imports, work=work)
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], check=True, capture_output=True, text=True
    )
    took, memory = done.stdout.split()
    return float(took), float(memory)


def write_tables(folder: Path, scenes: int) -> None:
    """Tables of the official size a scene; files are named, not made."""
    folder.mkdir(parents=True)
    pose = {"translation": [600.0, 1600.0, 0.0], "rotation": [1.0, 0.0, 0.0, 0.0]}
    small = {
        "sensor": [{"token": f"s{c}", "channel": c, "modality": ""} for c in RATES],
        "calibrated_sensor": [
            {"token": f"c{c}", "sensor_token": f"s{c}", "camera_intrinsic": [], **pose}
            for c in RATES
        ],
        "category": [{"token": "cat", "name": "vehicle.car", "description": ""}],
        "attribute": [{"token": "att", "name": "vehicle.moving", "description": ""}],
        "visibility": [],
        "log": [{"token": "log", "location": "boston-seaport"}],
        "map": [{"token": "map", "log_tokens": ["log"], "filename": "", "category": ""}],
        "scene": [
            {"token": f"scene{s}", "name": f"scene-{s:04d}", "log_token": "log",
             "first_sample_token": f"{s:05d}-{0:026d}", "description": "",
             "last_sample_token": f"{s:05d}-{SAMPLES - 1:026d}", "nbr_samples": SAMPLES}
            for s in range(scenes)
        ],
    }  # fmt: skip
    for name, rows in small.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    for name, made in (("sample", samples), ("sample_data", files), ("ego_pose", poses),
                       ("instance", instances), ("sample_annotation", boxes)):  # fmt: skip
        with (folder / f"{name}.json").open("w") as out:
            for at, row in enumerate(row for s in range(scenes) for row in made(s)):
                out.write(("[" if at == 0 else ",\n") + json.dumps(row))
            out.write("]")


def samples(s: int) -> Iterator[dict[str, object]]:
    for i in range(SAMPLES):
        token, before, after = (f"{s:05d}-{i + d:026d}" for d in (0, -1, 1))
        yield {"token": token, "timestamp": i * 500_000, "prev": before if i else "",
               "next": after if i + 1 < SAMPLES else "", "scene_token": f"scene{s}"}  # fmt: skip


def files(s: int) -> Iterator[dict[str, object]]:
    for channel, rate in RATES.items():
        for i in range(SAMPLES * rate):
            token, before, after = (f"{s:05d}{channel:<17}{i + d:010d}" for d in (0, -1, 1))
            yield {
                "token": token, "sample_token": f"{s:05d}-{i // rate:026d}",
                "ego_pose_token": token, "calibrated_sensor_token": f"c{channel}",
                "timestamp": i * 50_000, "fileformat": "x", "is_key_frame": i % rate == 0,
                "height": 900, "width": 1600, "prev": before if i else "",
                "filename": f"sweeps/{channel}/n015-2018-07-24-11-22-45+0800__{channel}__{i}.x",
                "next": after if i + 1 < SAMPLES * rate else "",
            }  # fmt: skip


def poses(s: int) -> Iterator[dict[str, object]]:
    for row in files(s):
        yield {"token": row["token"], "timestamp": 0, "rotation": [0.7, 0.0, 0.1, -0.7],
               "translation": [600.1202137947669, 1647.490776275174, 0.0]}  # fmt: skip


def instances(s: int) -> Iterator[dict[str, object]]:
    for k in range(BOXES):
        yield {"token": f"{s:05d}i{k:025d}", "category_token": "cat", "nbr_annotations": SAMPLES,
               "first_annotation_token": f"{s:05d}a{k:015d}{0:010d}",
               "last_annotation_token": f"{s:05d}a{k:015d}{SAMPLES - 1:010d}"}  # fmt: skip


def boxes(s: int) -> Iterator[dict[str, object]]:
    for i in range(SAMPLES):
        for k in range(BOXES):
            token, before, after = (f"{s:05d}a{k:015d}{i + d:010d}" for d in (0, -1, 1))
            yield {
                "token": token, "sample_token": f"{s:05d}-{i:026d}",
                "instance_token": f"{s:05d}i{k:025d}", "visibility_token": "4",
                "attribute_tokens": ["att"], "translation": [637.141 + i, 1636.252, -0.235],
                "size": [0.621, 0.647, 1.778], "rotation": [0.9, 0.0, 0.0, 0.1],
                "prev": before if i else "", "next": after if i + 1 < SAMPLES else "",
                "num_lidar_pts": 1, "num_radar_pts": 0,
            }  # fmt: skip


if __name__ == "__main__":
    speed(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
