"""The verbs that search, train and measure."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from sparsefront.errors import InputError
from sparsefront.search.cli.output import (
    as_json,
    as_table,
    computing_on,
    report_to_stderr,
    require_all,
    require_sweep,
    where_to_look,
    with_prefix,
)
from sparsefront.search.runs.run_folder import RUNS


@dataclass(frozen=True, kw_only=True)
class Check:
    """Validate a sweep file; print the resolved first trial and the space, field by field."""

    sweep: Positional[Path]
    """Sweep file (YAML)."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        import yaml

        from sparsefront.search.config.device import usable_accelerator, why_no_gpu
        from sparsefront.search.config.grouping import groups_of
        from sparsefront.search.config.space import describe, size
        from sparsefront.search.config.strict_yaml import to_plain
        from sparsefront.search.config.sweep_file import first_trial
        from sparsefront.search.driver.checks import read_checked
        from sparsefront.search.driver.resources import check_gpus

        sweep = read_checked(self.sweep)
        check_gpus(sweep)
        if sweep.gpus_per_trial and usable_accelerator() is None:
            print(
                f"note: gpus_per_trial is {sweep.gpus_per_trial:g}, but {why_no_gpu()}: the sweep "
                "needs a cluster whose nodes have GPUs (--address)",
                file=sys.stderr,
            )
        weights = {n: len(names) for n, names in groups_of(sweep.trial, sweep.space).items()}
        first = to_plain(first_trial(sweep).to_dict())
        if self.json:
            summary = {"name": sweep.name, "trials": sweep.trials, "space": size(sweep.space)}
            fields = {name: {**to_plain(asdict(d)), "weights": weights.get(name)}
                      for name, d in sweep.space.items()}  # fmt: skip
            return as_json({**summary, "fields": fields, "first_trial": first})
        text = yaml.safe_dump({"first trial": first}, sort_keys=False).rstrip()
        return (
            f"{text}\nspace: {len(sweep.space)} fields, {size(sweep.space)}\n"
            f"{describe(sweep.space, weights)}\n"
            f"{self.sweep}: ok, {sweep.trials} trials of {', '.join(sweep.objectives)}"
        )


@dataclass(frozen=True, kw_only=True)
class SweepVerb:
    """Run a sweep: trials on Ray, proposals by Optuna, records in MLflow."""

    sweep: Positional[Path]
    """Sweep file (YAML)."""
    name: str | None = None
    """Name of the run folder; default: the file's `name`."""
    trials: int | None = None
    """Number of trials instead of the file's."""
    address: str | None = None
    """Ray cluster: auto, local or HOST:PORT; default: a local one."""
    wait_for_nodes: float = 0.0
    """Seconds until the cluster must have a node with room for a trial."""
    runs: str = RUNS
    """Folder of all runs, or a URI (s3://BUCKET/runs)."""

    def run(self) -> str:
        from sparsefront.search.config.sweep_file import check_name
        from sparsefront.search.driver.checks import read_checked
        from sparsefront.search.runs.run_folder import run_folder

        if self.trials is not None and self.trials < 1:
            raise InputError(f"--trials: value {self.trials}; allowed: 1 and above")
        sweep = read_checked(self.sweep)
        name = self.name or sweep.name
        check_name(name)
        if (run := run_folder(self.runs, name)).exists():
            raise InputError(
                f"--name: value {name!r} exists in {self.runs}; "
                f"allowed: a new name, or {run.resume_command()}"
            )
        from sparsefront.search.driver.sweep import run_sweep

        front = run_sweep(
            sweep, name=name, runs=self.runs, address=self.address, trials=self.trials,
            wait_for_nodes=self.wait_for_nodes,
        )  # fmt: skip
        return f"{front.table()}\n{where_to_look(name, self.runs)}"


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a sweep after any crash; finished trials are never repeated."""

    name: Positional[str]
    """Name of the sweep."""
    address: str | None = None
    """Ray cluster, where it is another one now; default: as launched."""
    wait_for_nodes: float = 0.0
    """Seconds until the cluster must have a node with room for a trial."""
    runs: str = RUNS
    """Folder of all runs, or a URI (s3://BUCKET/runs)."""

    def run(self) -> str:
        require_sweep(self.name, self.runs)
        from sparsefront.search.driver.sweep import resume_sweep

        front = resume_sweep(self.name, self.runs, self.address, self.wait_for_nodes)
        return f"{front.table()}\n{where_to_look(self.name, self.runs)}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Run one trial here, without Ray."""

    sweep: Positional[Path]
    """Sweep file (YAML)."""
    set: Annotated[tuple[str, ...], arg(metavar="FIELD=VALUE")] = ()
    """Dotted fields of the trial to replace."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to compute instead of the file's `device`."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.config.sweep_file import set_fields
        from sparsefront.search.driver.checks import read_checked
        from sparsefront.search.trial.run_trial import run_trial

        sweep = read_checked(self.sweep)
        spec = set_fields(sweep.trial, list(self.set))
        spec = replace(spec, device=self.device or spec.device)
        computing_on(spec.device)
        outcome = run_trial(spec, report=report_to_stderr())
        data = outcome.result.to_dict()
        if self.json:
            return as_json({"spec": spec.to_dict(), **data})
        return as_table(
            {**data["metrics"], **with_prefix("sparsity", data["per_modality_sparsity"])}
        )


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model densely, or an exported one on with its zeros held; reads a YAML file, writes
    a safetensors checkpoint."""

    file: Positional[Path]
    """Training file (YAML)."""
    from_: Annotated[Path | None, arg(name="from")] = None
    """Exported folder to start from instead of the file's `init`: what was pruned stays zero."""
    out: Path | None = None
    """Checkpoint to write; default: the file's name with .safetensors, in this folder."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where to compute instead of the file's `device`."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.training.train import read_train, train

        spec = read_train(self.file)
        spec = replace(spec, device=self.device or spec.device)
        computing_on(spec.device)
        pruned = None
        if self.from_ is not None:
            from sparsefront.search.exports.pruned import read_pruned

            pruned = read_pruned(self.from_)
        result = train(spec, self.out or Path(self.file.stem + ".safetensors"), pruned=pruned)
        summary: dict[str, Any] = {
            "checkpoint": str(result.checkpoint),
            "steps": result.steps,
            "minutes": result.minutes,
            **result.metrics,
        }
        return as_json(summary) if self.json else as_table(summary)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Official metrics of an exported folder, or of a model with a checkpoint on some data."""

    export: Positional[str | None] = None
    """Exported folder, or models:/NAME@ALIAS of a registered one; its metrics come out bit for bit
    as the trial reported them, but for a latency, which is measured anew."""
    runs: str = RUNS
    """Folder of all runs, whose MLflow has registered models (else: MLFLOW_TRACKING_URI)."""
    model: str | None = None
    """Model name, with --checkpoint and --data."""
    checkpoint: Path | None = None
    """safetensors file."""
    data: str | None = None
    """Data root; with an exported folder: where its data lies on this machine."""
    format: Literal["nuscenes", "kitti"] = "nuscenes"
    """Format of the data."""
    version: str = "v1.0-mini"
    """Version of a nuScenes-format data set."""
    split: str | None = None
    """Split to evaluate on; of KITTI train or val. Default: mini_val, of KITTI all frames."""
    masked: Literal["camera", "lidar"] | None = None
    """Modality whose input is zeroed."""
    track: bool = False
    """Also link the boxes into tracks, for AMOTA and AMOTP."""
    sweeps: int = 1
    """nuScenes: LiDAR sweeps besides the keyframe (published models: 9)."""
    results: Path | None = None
    """Also write the boxes (with --track: the tracks) in the official format: a file; KITTI: a
    folder."""
    threads: int = 1
    """Torch threads."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: the GPU that this process may see, else the CPU. An export that was
    measured on the CPU stays there unless told otherwise, as its numbers are bit for bit there."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.scenes.scoring.tracker import TrackerSpec
        from sparsefront.search.cli import measure

        if self.export is not None:
            own = ("export", "runs", "data", "device", "json")
            others = [f for f in fields(self) if f.name not in own]
            if more := [f.name for f in others if getattr(self, f.name) != f.default]:
                raise InputError(
                    f"--{more[0]}: the exported folder says what was measured; allowed with it: "
                    "--data, --device, --json"
                )
            answer = self._of_export(self.export)
        else:
            model, checkpoint, data = require_all(
                "evaluate",
                {"--model": self.model, "--checkpoint": self.checkpoint, "--data": self.data},
            )
            frames = measure.data_spec(
                data, self.version, self.split, self.format, num_sweeps=self.sweeps
            )
            hidden = frozenset({self.masked}) if self.masked else frozenset()
            tracker = TrackerSpec() if self.track else None
            answer = measure.evaluate_checkpoint(
                model, checkpoint, frames, hidden, self.threads, tracker, self.results,
                partial(computing_on, self.device),
            )  # fmt: skip
        if self.json:
            return as_json(answer)
        return f"{as_table(answer['metrics'])}\n{measure.latency_note(answer)}".rstrip()

    def _of_export(self, export: str) -> dict[str, Any]:
        from sparsefront.search.cli import measure
        from sparsefront.search.exports.registry import SCHEME, fetch_export

        if not export.startswith(SCHEME):
            return measure.evaluate_export(Path(export), self.data, self._device_of)
        with fetch_export(export, self.runs) as folder:
            return measure.evaluate_export(folder, self.data, self._device_of)

    def _device_of(self, measured_on_cpu: bool) -> str:
        return computing_on("cpu" if self.device == "auto" and measured_on_cpu else self.device)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters and MACs of a model, per modality and layer (FLOPs = 2 x MACs)."""

    model: str
    """Model name."""
    checkpoint: Path | None = None
    """safetensors file; its zeros are not counted. Default: fresh, dense weights."""
    data: str | None = None
    """Data root; default: one synthetic frame with fixed points."""
    format: Literal["nuscenes", "kitti"] = "nuscenes"
    """Format of the data."""
    version: str = "v1.0-mini"
    """Version of a nuScenes-format data set."""
    split: str | None = None
    """Split whose frames are counted; of KITTI train or val. Default: mini_val, of KITTI all."""
    frames: int = 4
    """Number of frames averaged over."""
    latency: int = 0
    """Forward passes to time beside it (median and quartiles), after a quarter as many to warm up;
    0: none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where they are timed; auto: the GPU that this process may see, else the CPU."""
    json: bool = False
    """One JSON document on stdout."""

    def run(self) -> str:
        from sparsefront.search.cli import measure

        frames = (
            measure.data_spec(self.data, self.version, self.split, self.format, self.frames)
            if self.data
            else None
        )
        timing = (self.latency, math.ceil(self.latency / 4)) if self.latency else None
        device = computing_on(self.device) if timing else "cpu"
        answer = measure.cost_of(self.model, self.checkpoint, frames, timing, self.frames, device)
        return as_json(answer) if self.json else measure.cost_table(answer)
