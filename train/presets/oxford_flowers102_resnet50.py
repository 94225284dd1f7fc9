"""Oxford 102 Flowers with ResNet50 and a hidden layer: Adam, then rectified Adam in cycles.

Neither accuracy nor wall time has been measured yet. The head is trained on photos without
augmentation; `--head-views 10` adds augmented ones.

    KERAS_BACKEND=jax python train/run.py --preset oxford_flowers102_resnet50
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="oxford_flowers102",
    image_size=224,
    augment="crop",
    crop_scale=0.08,
    backbone="ResNet50",
    head_units=(512,),
    dropout=0.5,
    epochs_head=30,
    epochs_finetune=120,
    batch_size=64,
    optimizer="adam",
    learning_rate=0.01,
    schedule="constant",
    optimizer_finetune="radam",
    learning_rate_finetune=3e-3,
    schedule_finetune="cyclical",
    rate_low=5e-8,
    rate_period=8,
)
