"""Animals-10 with ResNet50V2: a hidden layer of 256, then the last 30 layers at 1e-5.

Neither accuracy nor wall time has been measured yet.

    KERAS_BACKEND=jax python train/run.py --preset animals10_resnet50v2 --data folder:raw-img
"""

import dataclasses

from train.presets import animals10

EXPERIMENT = dataclasses.replace(
    animals10.EXPERIMENT,
    backbone="ResNet50V2",
    epochs_head=15,
    epochs_finetune=30,
    learning_rate=7e-4,
)
