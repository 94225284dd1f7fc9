"""Kaggle's "Petals to the Metal": EfficientNetV2B3 at 224 px, the head first, then all layers.

With augmentation, class weights and label smoothing; without all three:
`--augment none --class-weights none --label-smoothing 0`. Neither accuracy nor wall time has been
measured yet.

The competition's photos, 12753 for training in 104 classes, unpack to folders by resolution:

    KERAS_BACKEND=jax python train/run.py --preset petals104 \\
        --data tfrecord:flower-classification-with-tpus

Variants by one flag: `--image-size 192`, `331` or `512` (which read the photos of that
resolution), `--augment-rare-below 200`, `--backbone Xception`, and for the learning rate
`--schedule step`, `exponential`, `cyclical` or `plateau`.
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="tfrecord:flower-classification-with-tpus",
    image_size=224,
    augment="light",
    backbone="EfficientNetV2B3",
    epochs_head=10,
    epochs_finetune=20,
    batch_size=128,
    learning_rate=1e-3,
    learning_rate_finetune=1e-4,
    label_smoothing=0.1,
    class_weights="balanced",
)
