"""What every run shares: registration, hooks, logs, seeds, precision."""

custom_imports = dict(imports=["semaim_mm"], allow_failed_imports=False)
runner_type = "TransferRunner"
default_scope = "mmpretrain"

precision = "auto"  # bf16 on accelerators, fp32 on the CPU
tensorboard = False
unreadable_budget = 0  # training images that may be skipped because they can't be decoded
randomness = dict(seed=0, deterministic=False)  # True: docs/reliability.md
load_from = None
resume = False

default_hooks = dict(
    runtime_info=dict(type="LateInfoHook"),
    timer=dict(type="ThroughputHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    logger=dict(type="LoggerHook", interval=50),
    record=dict(type="RecordHook"),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="SafeCheckpointHook", interval=1, max_keep_ckpts=3),
    finite=dict(type="FiniteStepHook", stop_after=3),  # NaN updates in a row that end the run
    stop=dict(type="StopSignalHook", signals=["SIGTERM", "SIGUSR1", "SIGUSR2"]),
    status=dict(type="StatusHook"),
    hang=dict(type="HangHook", seconds=900),  # without a sign of life that end the run
)
custom_hooks = [dict(type="SeedStepHook")]

log_level = "INFO"
log_processor = dict(window_size=50, mean_pattern=r".*(loss|time|grad_norm|images_per_s).*")
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl", timeout=1800),  # HangHook names the rank before that
)
