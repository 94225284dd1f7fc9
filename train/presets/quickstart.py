"""Drawn flowers, from scratch, in minutes: the whole road without a network."""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="quickstart",
    image_size=96,
    crop=1.0,
    crop_scale=0.7,
    backbone="ConvNet",
    weights=None,
    filters=(32, 64, 96, 128),
    epochs_head=0,
    epochs_finetune=15,
    learning_rate=3e-3,
    weight_decay=0.02,
    gallery=6,
)
