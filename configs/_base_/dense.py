"""What detection and segmentation share: registration, runs counted in updates, precision."""

_base_ = "runtime.py"

custom_imports = dict(imports=["semaim_mm", "semaim_mm.dense"], allow_failed_imports=False)

precision = "auto-fp16"  # mmcv's RoIAlign has no bf16 kernel
bad_annotations = "stop"  # "drop" leaves faulty training images and boxes out and counts them

log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5000))
custom_hooks = [
    dict(type="SeedStepHook"),
    dict(type="ClassCountHook"),
    dict(type="SkippedImagesHook"),
]
