"""Claim: where the time of a training step goes, and how near its convolutions are to the machine.

The same step twice; by default on one pinned core with one thread, as a member of an ensemble is
trained. By kind: the profiler's own time of each operation over some real steps of the recipe; the
rest of the wall time is Python and the profiler itself. By convolution: forward, input gradient and
weight gradient of each layer alone, relative to what a matrix product of 1024 × 1024 reaches here
in the same precision.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import machine
import ours
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity

from tenfold.data import kaggle_split, mnist
from tenfold.device import Device
from tenfold.recipe import Recipe
from tenfold.training.distributed import ProcessGroup
from tenfold.training.loop import train_step
from tenfold.training.state import TrainState

# The first kind whose word is in an operation's name takes it.
KINDS = {
    "convolution, backward": ("convolution_backward",),
    "convolution, forward": ("convolution",),
    "normalisation": ("batch_norm",),
    "pooling": ("pool", "amax", "max_values"),
    "activation": ("relu", "threshold", "clamp_min"),
    "augmentation": ("grid_sampl", "affine_grid", "upsample", "uniform", "normal", "index", "rand"),
    "optimizer and average": ("adam", "foreach", "lerp", "norm", "sub_", "bmm", "mul_", "addcmul"),
    "products and loss": ("addmm", "mm", "softmax", "nll", "dropout"),
    "copies and layout": ("copy_", "to", "contiguous", "clone", "fill_", "zero", "cat"),
}
OTHER, PYTHON = "other operations", "Python, dispatch and profiler"
REPEATS = 20


def seconds(work: Callable[[], object]) -> float:
    """Return the median time of `work`, after a warm-up."""
    for _ in range(3):
        work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def product_rate(dtype: torch.dtype) -> float:
    """Return what a matrix product of 1024 × 1024 reaches, in FLOP/s."""
    one, other = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    return 2 * 1024**3 / seconds(lambda: one @ other)


def begin_training(recipe: Recipe) -> tuple[TrainState, Callable[[], None]]:
    """Begin a training on 42,000 real digits; return its state and a function that does a step."""
    train_set, _ = kaggle_split(*mnist(), 0)
    device = Device.detect(recipe.training.precision)
    state = TrainState.create(recipe, train_set, device, ProcessGroup())
    state.model.train()
    order = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(0))
    size = state.loader.batch_size

    def step() -> None:
        start = state.step * size % (len(order) - size)
        batch = state.loader.batch(order[start : start + size], state.step)
        train_step(state.model, state, batch)

    return state, step


def by_kind(step: Callable[[], None], steps: int) -> tuple[float, dict[str, float]]:
    """Return the milliseconds of wall time of a whole step, and those of each kind of operation."""
    step_ms = seconds(step) * 1e3
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profile:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        profiled = (time.perf_counter() - started) / steps * 1e3
    kinds = dict.fromkeys([*KINDS, OTHER], 0.0)
    for event in profile.key_averages():
        if event.key.startswith(("aten::", "torch_dnnl")):
            kinds[kind_of(event.key)] += event.self_cpu_time_total / steps / 1e3
    kinds[PYTHON] = profiled - sum(kinds.values())
    return step_ms, kinds


def kind_of(operation: str) -> str:
    return next(
        (kind for kind, words in KINDS.items() if any(word in operation for word in words)), OTHER
    )


def by_convolution(state: TrainState, step: Callable[[], None]) -> list[dict]:
    """Time each convolution of the network alone, at the shapes that a step gives it."""
    inputs: dict[str, Tensor] = {}
    convolutions = {
        name: layer for name, layer in state.model.named_modules() if isinstance(layer, nn.Conv2d)
    }
    handles = [
        layer.register_forward_hook(lambda _, given, __, name=name: inputs.update({name: given[0]}))
        for name, layer in convolutions.items()
    ]
    step()
    for handle in handles:
        handle.remove()
    dtype = torch.bfloat16 if state.device.precision == "bf16" else torch.float32
    return [
        {"layer": name, **time_convolution(layer, inputs[name].detach().to(dtype))}
        for name, layer in convolutions.items()
    ]


def time_convolution(layer: nn.Conv2d, inputs: Tensor) -> dict:
    """Seconds and FLOP/s of one convolution's three products."""
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    weight = layer.weight.detach().to(inputs.dtype)
    stride = list(layer.stride)
    same = layer.padding == "same"
    padding = [side // 2 for side in layer.kernel_size] if same else list(map(int, layer.padding))

    def forward() -> Tensor:
        return torch.nn.functional.conv2d(inputs, weight, None, layer.stride, layer.padding)

    outputs = forward()
    grad_output = torch.randn_like(outputs)

    def backward(output_mask: list[bool]) -> Callable[[], object]:
        return lambda: torch.ops.aten.convolution_backward(
            grad_output,
            inputs,
            weight,
            None,
            stride,
            padding,
            [1, 1],
            False,
            [0, 0],
            1,
            output_mask,
        )

    flop = 2 * outputs.numel() * weight[0].numel()
    times = {"forward": seconds(forward), "weights": seconds(backward([False, True, False]))}
    if inputs.shape[1] > 1:  # training needs no gradient of the image
        times["input"] = seconds(backward([True, False, False]))
    shape = f"{' × '.join(map(str, inputs.shape[1:]))} → {' × '.join(map(str, outputs.shape[1:]))}"
    return {"shape": shape, "flop": flop, "seconds": times}


def print_kinds(step_ms: float, kinds: dict[str, float], batch: int) -> None:
    print(f"\na step of {batch} images: {step_ms:.1f} ms, {batch / step_ms * 1e3:,.0f} images/s")
    total = sum(kinds.values())
    for kind, milliseconds in sorted(kinds.items(), key=lambda pair: -pair[1]):
        print(f"{kind:<32}{milliseconds:>9.2f} ms{milliseconds / total:>8.1%}")


def print_convolutions(rows: list[dict], rate: float) -> None:
    print(
        f"\n{'layer':<10}{'from → to':<28}"
        + "".join(f"{w:>16}" for w in ("forward", "weights", "input"))
    )
    for row in rows:
        cells = ""
        for kind in ("forward", "weights", "input"):
            if kind in row["seconds"]:
                elapsed_s = row["seconds"][kind]
                cells += f"{elapsed_s * 1e3:>7.2f} ms {row['flop'] / elapsed_s / rate:>4.0%} "
        print(f"{row['layer']:<10}{row['shape']:<28}   {cells}")
    flop = sum(row["flop"] * len(row["seconds"]) for row in rows)
    total_s = sum(sum(row["seconds"].values()) for row in rows)
    print(
        f"all of them: {flop / 1e9:.2f} GFLOP in {total_s * 1e3:.1f} ms, "
        f"{flop / total_s / 1e12:.3f} TFLOP/s, {flop / total_s / rate:.0%} of a matrix product's"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Where a training step's time goes.")
    parser.add_argument("--recipe", default="quick", help="name or file (default quick)")
    parser.add_argument("--steps", type=int, default=30, help="profiled steps (default 30)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads, each on a core of its own (default 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="save everything measured")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    torch.set_num_threads(options.threads)

    here = machine.describe()
    machine.print_machine(here)
    state, step = begin_training(Recipe.load(options.recipe))
    dtype = torch.bfloat16 if state.device.precision == "bf16" else torch.float32
    rate = product_rate(dtype)
    print(f"a product of 1024 × 1024 in {state.device.precision}: {rate / 1e12:.3f} TFLOP/s")
    plain = product_rate(torch.float32)
    print(f"the same in fp32: {plain / 1e12:.3f} TFLOP/s, {rate / plain:.1f} times lower")
    step_ms, kinds = by_kind(step, options.steps)
    print_kinds(step_ms, kinds, state.loader.batch_size)
    rows = by_convolution(state, step)
    print_convolutions(rows, rate)
    flop = sum(row["flop"] * len(row["seconds"]) for row in rows)
    print(f"the whole step: {flop / step_ms / 1e9:.3f} TFLOP/s of convolutions")
    if options.json:
        record = {"machine": here, "recipe": options.recipe, "product_flop_s": rate}
        record |= {"step_ms": step_ms, "kinds_ms": kinds, "convolutions": rows}
        ours.save_json(record, options.json)


if __name__ == "__main__":
    main()
