"""Any folder of photos, one folder a class: EfficientNetB0, the head first, then all at low rates.

Where this comes from (four classes of travel photos), the head reached 93.9 % on validation and
the whole network 94.8 %. Neither accuracy nor wall time has been measured here.

    KERAS_BACKEND=jax python train/run.py --preset folder_transfer --data folder:datasets

The rate falls where valid stands still, and a stage ends when it has done so for six epochs. The
checkpoints that are best by valid accuracy and by valid loss are both kept; the bundle holds the
first, and `--resume RUN --monitor val_loss` makes that of the other.

Other base models: `--backbone ResNet50`, `MobileNetV2` or any name of Keras Applications. More
augmentation, of 0.15 to 0.3: `--augment-strength 1.5` to `3`.
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
