"""Oxford 102 Flowers with EfficientNet-Lite0, all layers fine-tuned on the official train split.

Expect 94.0 % top-1 on valid and 92.4 % on test (4141 photos of 256 px, seed 0, one run, on the JAX
backend), in 24 minutes on two CPU cores:

    KERAS_BACKEND=jax python train/run.py --preset oxford_flowers102

Four more trainings on train and a part of valid, of 24, 43, 81 and 52 minutes, each averaged with
the previous one, reach 97.1 % on test: the network that `oxford_flowers102_elsewhere` starts from.
It is calibrated on the tenth of valid that is held out, and on another tenth with the outputs of
the previous network, which was not trained on that:

    export KERAS_BACKEND=jax
    python train/run.py --preset oxford_flowers102 --output runs/lite-train
    python train/run.py --preset oxford_flowers102 --weights runs/lite-train/bundle \\
        --valid-share 0.2 --gallery 0 --epochs-finetune 16 --learning-rate-finetune 4e-4 \\
        --output runs/lite-final
    python train/run.py --preset oxford_flowers102 --weights runs/lite-final/bundle \\
        --valid-share 0.2 --gallery 0 --epochs-finetune 24 --learning-rate-finetune 5e-4 \\
        --average runs/lite-final/bundle --storage float16 --output runs/lite-long
    python train/run.py --preset oxford_flowers102 --weights runs/lite-train/bundle \\
        --valid-share 0.2 --gallery 0 --epochs-finetune 36 --learning-rate-finetune 6e-4 \\
        --average runs/lite-long/bundle --storage float16 --output runs/lite-branch
    python train/run.py --preset oxford_flowers102 --weights runs/lite-branch/bundle \\
        --valid-share 0.1 --gallery 0 --epochs-finetune 30 --learning-rate-finetune 6e-4 \\
        --average runs/lite-branch/bundle --storage float16 --output runs/lite-most
    python -m train.calibrate --model runs/lite-most/bundle --earlier runs/lite-branch/bundle \\
        --data oxford_flowers102 --output runs/lite-shipped
    python -m train.release --model runs/lite-shipped
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="oxford_flowers102",
    image_size=224,
    serve_size=256,
    augment="inception,cutmix",
    crop_scale=0.25,
    backbone="EfficientNetLite0",
    weights="imagenet",
    epochs_head=60,
    epochs_finetune=24,
    learning_rate=3e-3,
    learning_rate_finetune=8e-4,
    weight_decay=0.05,
    label_smoothing=0.1,
    monitor="last",
)
