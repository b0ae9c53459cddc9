"""report.md of an exported point: what it is, how good, how sparse, how it was found."""

from __future__ import annotations

from sparsefront.search.config.metric_names import quality
from sparsefront.search.runs.front import ParetoFront, format_value
from sparsefront.search.runs.trial_reader import StoredTrial

WHAT_GOES = {
    "unstructured": "Unstructured zeros make no GPU faster by themselves.",
    "channel": "Whole channels are gone: `small.safetensors` is the smaller model.",
}
N_OF_M = "Zeros in an N:M pattern are fast where the device has kernels for it."


def report(trial: StoredTrial, front: ParetoFront, pick: str) -> str:
    """Markdown, with front.png beside it."""
    metrics = trial.result.metrics
    dense = 2 * metrics["GMACs_dense"]
    names = quality(metrics)
    lines = [
        f"# {front.name}, trial {trial.trial_id}",
        "",
        f"Picked by `{pick}` from {len(front.points) + len(front.others)} finished trials, "
        f"{len(front.points)} of them on the Pareto front.",
        "",
        "![the front, this point ringed](front.png)",
        "",
        f"| {' | '.join(names)} | GFLOPs | of dense | weights removed |",
        "|---" * (len(names) + 3) + "|",
        f"| {' | '.join(f'{metrics[name]:.4f}' for name in names)} "
        f"| {format_value(metrics['GFLOPs'])} "
        f"| {metrics['GFLOPs'] / dense:.1%} | {metrics['sparsity']:.1%} |",
        "",
        "GFLOPs are theoretical, 2 x MACs of the weights that stay, for one frame; sparse "
        f"convolutions by pair counts averaged over {trial.spec.cost_frames} frames. "
        + WHAT_GOES.get(trial.spec.allocation.pattern, N_OF_M),
        "",
        *_size(trial),
        "",
        "| modality | weights removed | GFLOPs | dense GFLOPs |",
        "|---|---|---|---|",
    ]
    for modality, removed in trial.result.per_modality_sparsity.items():
        row = trial.result.cost["per_modality"][modality]
        lines.append(
            f"| {modality} | {removed:.1%} | {format_value(2 * row['macs'] / 1e9)} "
            f"| {format_value(2 * row['macs_dense'] / 1e9)} |"
        )
    spec = trial.spec.to_dict()
    if trial.spec.task is not None:
        del spec["fine_tune"]["batch_size"]  # the task's own
    admm = spec["cross_prune"]
    by_admm = "" if admm is None else f" CrossPrune from its scores: {_options(admm)}."
    lines += [
        "",
        f"Criterion: {_options(spec['criterion'])}.{by_admm} "
        f"Fine-tuning: {_options(spec['fine_tune'])}. Seed {trial.spec.seed}.",
        "",
        *_by_class(trial.result.per_class),
        "",
        "`sparsefront evaluate THIS_FOLDER` measures these numbers again (a latency anew).",
        "",
    ]
    return "\n".join(lines)


def _size(trial: StoredTrial) -> list[str]:
    """What the deployed model takes: parameters, bytes, and where it was timed, milliseconds."""
    metrics = trial.result.metrics
    if "bytes" not in metrics:  # written before they were counted
        return []
    lines = [
        f"Deployed: {metrics['parameters']:,.0f} of {metrics['parameters_dense']:,.0f} parameters, "
        f"{metrics['nonzeros']:,.0f} of them not zero; {metrics['bytes']:,.0f} bytes of "
        f"{metrics['bytes_dense']:,.0f} (a weight whole, or its non-zeros and a bit a position)."
    ]
    timed = trial.result.latency
    return lines + [f"Latency, {which}: {found['text']}." for which, found in timed.items()]


def _by_class(per_class: dict[str, float]) -> list[str]:
    """A table with a column a metric, from values named METRIC.class."""
    if not per_class:
        return []
    parts = [name.partition(".")[::2] for name in per_class]
    metrics = list(dict.fromkeys(metric for metric, _ in parts))
    lines = [f"| class | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
    for kind in dict.fromkeys(kind for _, kind in parts):
        values = [per_class.get(f"{metric}.{kind}") for metric in metrics]
        cells = ["" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def _options(spec: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in spec.items() if value is not None)
