"""A simple baseline for Kaggle's "Petals to the Metal": a linear head on a frozen VGG16, 512 px.

Adam without augmentation; in twelve epochs the learning rate rises from 1e-5 to 5e-5 within five,
then falls by a fifth per epoch. Neither accuracy nor wall time has been measured yet:

    KERAS_BACKEND=jax python train/run.py --preset petals104_vgg16 \\
        --data tfrecord:flower-classification-with-tpus

`--epochs-finetune 12` fine-tunes the whole network afterwards.
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="tfrecord:flower-classification-with-tpus",
    image_size=512,
    augment="none",
    backbone="VGG16",
    dropout=0.0,
    epochs_head=12,
    epochs_finetune=0,
    batch_size=128,
    optimizer="adam",
    learning_rate=5e-5,
    schedule="exponential",
    warmup=5 / 12,
    rate_low=1e-5,
    rate_period=1,
    rate_decay=0.8,
)
