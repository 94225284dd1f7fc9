"""Animals-10 with MobileNetV2: a hidden layer of 256, an eighth of `animals10`'s weights.

Neither accuracy nor wall time has been measured yet.

    KERAS_BACKEND=jax python train/run.py --preset animals10_mobilenetv2 --data folder:raw-img

`--unfreeze 20` also fine-tunes the backbone's last 20 layers.
"""

import dataclasses

from train.presets import animals10

EXPERIMENT = dataclasses.replace(
    animals10.EXPERIMENT,
    backbone="MobileNetV2",
    epochs_head=13,
    epochs_finetune=30,
    unfreeze=0,
)
