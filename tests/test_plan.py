"""Plans for TPUs: the figures of a compiled step, and the search for the largest batch size."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from flowers_model.errors import UserError
from train import plan
from train.experiment import Experiment, load_preset, preset_names
from train.plans.search import largest
from train.plans.step import (
    ENVIRONMENT,
    MEMORY,
    Step,
    chips_of,
    compile_step,
    compiled_settings,
    count_collectives,
    count_traffic,
    lower,
)
from train.plans.tables import picture, tables

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = Experiment(
    image_size=24, backbone="ConvNet", weights=None, filters=(4, 8), class_weights="balanced"
)

# Of a program that libtpu compiled, shortened.
PROGRAM = """HloModule jit_step

%wrapped (p: f32[32]) -> f32[32] {
  %p = f32[32]{0} parameter(0)
  ROOT %all-gather.1 = f32[64]{0} all-gather(%p), dimensions={0}
}

ENTRY %main_spmd (a: f32[8,128], b: bf16[4,256]) -> (f32[8,128]) {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0), sharding={replicated}
  %b = bf16[4,256]{1,0:T(4,128)(2,1)} parameter(1)
  %copy-start.2 = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%a)
  %copy-done.2 = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%copy-start.2)
  %fusion.7 = (f32[128]{0:T(128)S(1)}, /*index=1*/bf16[4,256]{1,0:T(4,128)(2,1)}) fusion(%copy-done.2, %b), kind=kLoop, calls=%fused
  %get-tuple-element.1 = f32[128]{0:T(128)S(1)} get-tuple-element(%fusion.7), index=0
  %all-reduce.3 = (f32[128]{0:T(128)S(1)}, f32[]{:T(128)}) all-reduce(%get-tuple-element.1, %c), channel_id=1, to_apply=%sum
  ROOT %tuple = (f32[8,128]{1,0}) tuple(%a)
}
"""  # noqa: E501


def test_collectives_are_counted_with_the_bytes_they_give():
    kinds, size = count_collectives(PROGRAM)
    assert kinds == {"all-gather": 1, "all-reduce": 1}
    assert size == 64 * 4 + 128 * 4 + 4


def test_traffic_is_what_is_read_from_main_memory_and_written_to_it():
    copied = 8 * 128 * 4  # to the chip's on-chip memory, where further access is free
    fused = 2 * 4 * 256 * 2  # b, and the second output
    scalar = 4
    assert count_traffic(PROGRAM) == copied + fused + scalar


@pytest.mark.slow
def test_a_step_of_eight_devices_has_an_eighth_of_the_work_on_each(tmp_path):
    """Virtual devices must exist before JAX starts, so this runs in a separate process."""
    script = """if True:
        import dataclasses, json, sys
        import jax
        from test_plan import TINY
        from train.plans import step
        found = []
        for count in (1, 8):
            lowered, sizes = step.lower(TINY, 3, jax.devices()[:count], 64)
            found.append(dataclasses.asdict(step.analyze(lowered.compile(), 64, count, sizes)))
        print(json.dumps(found))
    """
    environment = {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, stdout=subprocess.PIPE
    )
    one, eight = json.loads(done.stdout.splitlines()[-1])
    assert one["collectives"] == {}
    assert eight["collectives"].keys() == {"all-reduce"}
    weights = 3 * 3 * (3 * 4 + 4 * 8) + 8 * 3 + 3 + 2 * (4 + 8)
    assert eight["collective_bytes"] >= 4 * weights
    assert one["flops"] / 8 == pytest.approx(eight["flops"], rel=0.1)
    assert one["parameters"] == eight["parameters"] >= 4 * weights
    assert one["optimizer"] == eight["optimizer"] >= 2 * 4 * weights  # AdamW's two moments
    assert one["inputs"] == 64 * 4 * (24 * 24 * 3 + 3 + 1) == 8 * eight["inputs"]
    assert one["temporaries"] > 4 * eight["temporaries"] > 0


def test_the_bound_is_the_slowest_of_computing_memory_and_links():
    step = Step(
        batch=800,
        chips=8,
        parameters=1,
        optimizer=2,
        inputs=3,
        temporaries=4,
        program=5,
        flops=197e9,  # a millisecond
        traffic=2 * 819_000_000,  # two
        collectives={"all-reduce": 7},
        collective_bytes=400_000_000,  # 3.5: 7/8 of the bytes, sent and received
    )
    assert step.memory == 15
    assert list(step.seconds.values()) == pytest.approx([0.001, 0.002, 0.0035])
    assert step.photos_a_second == pytest.approx(800 / 0.0035)
    assert "7 all-reduce" in tables([("tiny", step)])


@pytest.mark.parametrize("guess", [1, 40, 300, 5000])
@pytest.mark.parametrize("fixed", [0, 300])
def test_the_largest_batch_is_found_in_a_few_steps(guess, fixed):
    tried = []

    def memory_of(number: int) -> float | None:
        tried.append(number)
        memory = fixed + 3.2 * number
        return None if memory > 1000 else memory

    found = largest(memory_of, guess, 1000)
    most = (1000 - fixed) / 3.2
    assert most * 15 / 16 - 1 <= found <= most
    assert len(tried) <= 12
    assert len(set(tried)) == len(tried)


def test_where_not_one_photo_fits_there_is_no_largest_batch():
    assert largest(lambda number: None, 100, 1000) == 0


def test_the_search_ends_where_nobody_trains():
    tried = []
    assert largest(lambda number: tried.append(number) or 0.001 * number, 40, 1000) == 65536
    assert len(tried) <= 3


def test_a_line_that_bends_is_followed():
    """As when the compiler recomputes what does not fit in memory."""
    found = largest(lambda number: min(5 * number, 600 + number), 10, 1000)
    assert 340 <= found <= 400


def test_what_does_not_change_the_step_does_not_compile_it_anew():
    one, other = (load_preset(name).EXPERIMENT for name in ("petals104", "tpu_v5e8"))
    assert compiled_settings(one).precision == "auto"
    assert {**vars(compiled_settings(one)), "precision": "mixed_bfloat16"} == vars(
        compiled_settings(other)
    )


def test_settings_that_do_not_reach_the_step_do_not_compile_it_anew():
    plain = compiled_settings(Experiment())
    others = {"storage": "float16", "monitor": "last", "oversample": True, "valid_share": 0.5}
    assert compiled_settings(Experiment(**others, augment="crop", seed=3)) == plain
    assert compiled_settings(Experiment(dropout=0.5)) != plain


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_batch_that_eight_chips_divide(name):
    assert load_preset(name).EXPERIMENT.batch_size % 8 == 0


def test_the_picture_shows_every_step(tmp_path):
    sizes = {"parameters": 10**8, "optimizer": 2 * 10**8, "inputs": 10**6, "program": 0}
    work = {"flops": 1.0, "traffic": 1, "collectives": {}, "collective_bytes": 0}
    steps = [Step(8 * n, 8, temporaries=n * 10**8, **sizes, **work) for n in (4, 64)]
    picture(steps, "tiny", tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology", "v4:2x2"], "--topology must be v5e:ROWSxCOLUMNS"),
        (["--preset", "petals"], "no preset is called 'petals'"),
        (["--batch-size", "x"], "--batch-size"),
        (["--classes", "1"], "--classes must be 2 or more, not 1"),
    ],
)
def test_a_mistake_gets_one_line(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert plan.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_it_says_what_to_install():
    with pytest.raises(UserError, match=r"pip install -r requirements-tpu\.txt"):
        chips_of("v5e:2x4")


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_a_tpu_that_is_not_here_compiles_a_step(tmp_path, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FLOWERS_DATA", str(tmp_path))
    step = compile_step(TINY, 3, "v5e:2x4", 64, quick=True)
    assert step.chips == 8
    assert step.collectives["all-reduce"] > 0
    assert 0 < step.memory < MEMORY
    assert compile_step(TINY, 3, "v5e:2x4", 64, quick=True) == step  # from the disk


def test_the_step_is_that_of_the_last_stage():
    """Without fine-tuning, the step is that of the head alone, on the frozen network's features."""
    experiment = dataclasses.replace(TINY, epochs_finetune=0)
    _, sizes = lower(experiment, 3, jax.devices()[:1], 16)
    assert sizes["inputs"] == 16 * 4 * (8 + 3 + 1)  # features, label, and what the photo counts for
