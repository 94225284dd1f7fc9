"""Oxford 102 Flowers with a frozen DINOv2: a linear head on features that are computed once.

Neither accuracy nor wall time has been measured yet. It takes keras-hub, which downloads the
weights from Kaggle:

    pip install -r requirements-backbones.txt
    KERAS_BACKEND=jax python train/run.py --preset oxford_flowers102_dinov2

22.6 million parameters, in patches of 14 pixels. Larger: `--backbone hub:dinov2_base`. Fine-tuning
as well: `--epochs-finetune 10 --learning-rate-finetune 1e-5`, on a GPU or TPU.
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="oxford_flowers102",
    image_size=224,
    backbone="hub:dinov2_small",
    epochs_head=100,
    epochs_finetune=0,
    batch_size=64,
    learning_rate=1e-3,
)
