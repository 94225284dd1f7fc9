"""Kaggle's "Petals to the Metal": DenseNet201 at 512 px, all layers, exponential decay.

With augmentation, class weights, and a learning rate that falls by a fifth per epoch. Neither
accuracy nor wall time has been measured yet; a batch of 128 such photos needs an accelerator with
80 GB or several smaller ones:

    KERAS_BACKEND=jax python train/run.py --preset petals104_densenet201 \\
        --data tfrecord:flower-classification-with-tpus

`--backbone Xception` is an alternative. A second source adds more photos of the same flowers:
`--data tfrecord:MORE --classes first`.
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="tfrecord:flower-classification-with-tpus",
    image_size=512,
    augment="crop,color,cutout",
    backbone="DenseNet201",
    epochs_head=5,
    epochs_finetune=30,
    batch_size=128,
    optimizer="adam",
    learning_rate=1e-3,
    learning_rate_finetune=4e-4,
    schedule="exponential",
    warmup=0.15,
    rate_low=1e-5,
    rate_period=1,
    rate_decay=0.8,
    class_weights="balanced",
)
