"""Tables and a figure of compiled steps."""

from __future__ import annotations

import pathlib

from train.plans.step import BANDWIDTH, FLOPS, INTERCONNECT, MEMORY, Step

PARTS = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "inputs": "photos, labels",
    "temporaries": "activations, temporaries",
    "program": "program, alignment",
}

TIMES = ("computing, ms", "memory, ms", "links, ms")

WORK = "\nWork of a step, per chip, and the upper bound of photos per second on all chips:\n"


def tables(steps: list[tuple[str, Step]]) -> str:
    """The memory and time of steps, given with the titles of their rows, as Markdown."""
    memory = [("", "photos per step", "per chip", *PARTS.values(), "total", "of the chip")]
    work = [("", "photos per step", "GFLOP", "GB", "collectives", "MB", *TIMES, "photos/s")]
    for title, step in steps:
        batch = f"{step.batch:,}"
        sizes = [_digits(getattr(step, part) / 1e6) for part in (*PARTS, "memory")]
        share = f"{step.memory / MEMORY:.0%}"
        memory.append((title, batch, f"{step.batch // step.chips:,}", *sizes, share))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(step.collectives.items()))
        work.append(
            (
                *(title, batch, _digits(step.flops / 1e9), _digits(step.traffic / 1e9)),
                *(kinds or "none", _digits(step.collective_bytes / 1e6)),
                *(_digits(seconds * 1e3) for seconds in step.seconds.values()),
                f"{step.photos_a_second:,.0f}",
            )
        )
    return "\n".join(["Memory, MB per chip:\n", *_markdown(memory), WORK, *_markdown(work)])


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def picture(steps: list[Step], title: str, path: pathlib.Path) -> None:
    """Draw the parts of a chip's memory, by photos per chip."""
    import matplotlib.figure

    from train.reports.style import GREY, finish

    steps = sorted(steps, key=lambda step: step.batch)
    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    names = [f"{step.batch // step.chips:,}" for step in steps]
    base = [0.0] * len(steps)
    for part, label in PARTS.items():
        sizes = [getattr(step, part) / 1e9 for step in steps]
        ax.bar(names, sizes, 0.6, bottom=base, label=label)
        base = [a + b for a, b in zip(base, sizes, strict=True)]
    ax.axhline(MEMORY / 1e9, color=GREY, linestyle=":", label="available")
    ax.set_xlabel("photos per chip")
    ax.set_ylabel("GB per chip")
    ax.set_title(title)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], frameon=False, loc="outside right upper")
    finish(figure, path)


ASSUMPTIONS = f"""
Assumptions about a v5e chip: {FLOPS / 1e12:.0f} TFLOP/s in bfloat16, {BANDWIDTH / 1e9:.0f} GB/s to
its memory, {INTERCONNECT / 1e9:.0f} GB/s in each direction to others, {MEMORY / 1e9:.1f} GB for a
program. Data parallel; bfloat16 unless the preset sets a precision; the last stage, which for a
preset without fine-tuning is the head on cached features. FLOPs are those that the compiler counts,
all at the peak of the matrix units; GB are what the instructions read from and write to the chip's
memory, without alignment; collectives run in a ring. The upper bound assumes that computing, memory
and links overlap completely, and that latency, reading, decoding and augmenting take no time.
"""
