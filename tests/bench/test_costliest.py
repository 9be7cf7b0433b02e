"""What the profiler lists is counted once: by operation, Triton kernels by their own names."""

from __future__ import annotations

from types import SimpleNamespace

from torch.autograd import DeviceType

from semaim_mm.bench.costliest import OTHER_KERNELS, costs


def event(key: str, device: int = 0, cpu: int = 0, count: int = 1, **more) -> SimpleNamespace:
    kind = DeviceType.CUDA if more.pop("kernel", False) else DeviceType.CPU
    told = dict(is_user_annotation=False) | more
    return SimpleNamespace(
        key=key,
        self_device_time_total=device,
        self_cpu_time_total=cpu,
        count=count,
        device_type=kind,
        **told,
    )


def test_on_a_gpu_every_kernel_counts_once_those_of_the_compiler_under_their_own_names():
    events = [
        event("aten::mm", device=50, cpu=3, count=4),
        event("aten::empty", cpu=9),
        event("sm90_gemm", device=50, kernel=True, count=4),
        event("triton_poi_fused_gelu", device=30, cpu=2, count=2),  # its launch
        event("triton_poi_fused_gelu", device=30, kernel=True, count=2),
        event("flash_fwd", device=20, kernel=True),
        event("Optimizer.step", device=99, kernel=True, is_user_annotation=True),
    ]
    spent = costs(events, on_gpu=True)
    assert spent == {
        "aten::mm": (50, 4),
        "aten::empty": (0, 1),
        "triton_poi_fused_gelu": (30, 2),
        OTHER_KERNELS: (20, 0),
    }


def test_on_a_cpu_the_compilers_code_counts_as_an_operation():
    events = [
        event("aten::mm", cpu=5),
        event("CompiledFunction", cpu=7),
        event("Optimizer.step#AdamW", cpu=9),
    ]
    assert costs(events, on_gpu=False) == {"aten::mm": (5, 1), "CompiledFunction": (7, 1)}
