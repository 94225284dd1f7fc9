"""Animals-10 with EfficientNetV2S: a hidden layer of 256, then the last 30 layers at 1e-5.

Neither accuracy nor wall time has been measured yet.

Kaggle's photos unpack to `raw-img`, one folder per class; valid and test are split off them:

    KERAS_BACKEND=jax python train/run.py --preset animals10 --data folder:raw-img
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="folder:raw-img",
    image_size=224,
    augment="light",
    backbone="EfficientNetV2S",
    head_units=(256,),
    epochs_head=12,
    epochs_finetune=35,
    unfreeze=30,
    batch_size=32,
    optimizer="adam",
    learning_rate=5e-4,
    learning_rate_finetune=1e-5,
    schedule="constant",
)
