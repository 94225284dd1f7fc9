"""Oxford 102 Flowers with MobileNet 0.75, fine-tuned whole on the official train split."""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="oxford_flowers102",
    image_size=224,
    crop=0.875,
    crop_scale=0.35,
    backbone="MobileNet",
    alpha=0.75,
    weights="imagenet",
    epochs_head=60,
    epochs_finetune=20,
    learning_rate=3e-3,
    learning_rate_finetune=4e-4,
    train_norms=True,
    label_smoothing=0.1,
    weight_decay=0.004,
    dropout=0.2,
)
