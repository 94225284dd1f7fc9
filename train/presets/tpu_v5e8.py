"""`petals104` on the eight chips of a TPU v5e-8: 128 photos per chip, in bfloat16.

Eight times the batch means an eighth of the steps; the learning rates are scaled by the square root
of eight. Neither accuracy nor wall time has been measured yet. Compiled for the chips, a step takes
a sixth of their memory (docs/tpu.md).

    KERAS_BACKEND=jax python train/run.py --preset tpu_v5e8 \\
        --data tfrecord:flower-classification-with-tpus
"""

import dataclasses

from train.presets import petals104

EXPERIMENT = dataclasses.replace(
    petals104.EXPERIMENT,
    batch_size=1024,
    learning_rate=2.8e-3,
    learning_rate_finetune=2.8e-4,
    precision="mixed_bfloat16",
)
