"""Animals-10 from scratch: four convolutions of 16 to 128 channels and a hidden layer of 256.

Rare classes are oversampled. Neither accuracy nor wall time has been measured yet.

    KERAS_BACKEND=jax python train/run.py --preset animals10_convnet --data folder:raw-img

With three convolutions: `--filters 32,64,128`. With five:
`--filters 8,16,32,64,128 --learning-rate 2e-4`. Without the hidden layer: `--head-units ""`.
"""

import dataclasses

from train.presets import animals10

EXPERIMENT = dataclasses.replace(
    animals10.EXPERIMENT,
    backbone="ConvNet",
    filters=(16, 32, 64, 128),
    weights=None,
    epochs_head=0,
    epochs_finetune=80,
    unfreeze=None,
    learning_rate_finetune=None,
    oversample=True,
)
