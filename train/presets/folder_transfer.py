"""Any folder of photos, one folder per class: EfficientNetB0, the head first, then all layers.

Neither accuracy nor wall time has been measured yet.

    KERAS_BACKEND=jax python train/run.py --preset folder_transfer --data folder:datasets

The learning rate is reduced on a plateau of the validation metric, and a stage stops early after
six epochs without improvement. The best checkpoints by validation accuracy and by validation loss
are both kept; the bundle has the former, and `--resume RUN --monitor val_loss` writes the latter.

Other backbones: `--backbone ResNet50`, `MobileNetV2` or any name of Keras Applications. More
augmentation: `--augment-strength 1.5` to `3`.
"""

from train.experiment import Experiment

EXPERIMENT = Experiment(
    data="folder:datasets",
    image_size=224,
    augment="geometric,color",
    augment_strength=0.5,
    backbone="EfficientNetB0",
    head_units=(128,),
    dropout=0.15,
    epochs_head=24,
    epochs_finetune=24,
    batch_size=128,
    optimizer="adam",
    learning_rate=4e-5,
    learning_rate_finetune=3e-6,
    schedule="plateau",
    patience=6,
    monitor="val_accuracy",
)
