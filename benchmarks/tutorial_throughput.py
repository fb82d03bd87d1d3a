"""Training throughput of the tutorial config against a plain PyTorch version.

The same network, batch and samples in eager PyTorch, as the 100-line NeRF is written. Both are
measured alternately in one process, so that the ratio is valid on a machine of varying speed.

    pip install torch          # the CPU build suffices
    python benchmarks/tutorial_throughput.py

Prints a table, and writes it with the machine and the versions to
``benchmarks/results/tutorial_throughput.json``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import torch
from record import write_record

from nerf_jax import methods
from nerf_jax.cameras import look_at
from nerf_jax.config import Config, OptimizerConfig, TutorialConfig
from nerf_jax.devices import ray_mesh
from nerf_jax.methods import make_optimizer
from nerf_jax.train import init_state, make_train_steps
from nerf_jax.types import Cameras, Dataset

NEAR, FAR, SAMPLES, WIDTH = 2.0, 6.0, 192, 256


def scene() -> Dataset:
    """Random pixels: their content does not affect the cost."""
    angles = np.arange(10)
    origins = np.stack([4 * np.cos(angles), 4 * np.sin(angles), 0 * angles + 1.0], axis=1)
    up = np.array([0.0, 0.0, 1.0])
    cameras = Cameras(
        world_from_camera=np.stack([look_at(origin, np.zeros(3), up) for origin in origins]),
        focal=np.full((10, 2), 140, np.float32),
        principal=np.full((10, 2), 50, np.float32),
        near=np.full(10, NEAR, np.float32),
        far=np.full(10, FAR, np.float32),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (10, 100, 100, 3), dtype=np.uint8)
    return Dataset(cameras, pixels)


def in_jax(rays: int) -> Callable[[], None]:
    """One training step of the tutorial config; compiled when this returns."""
    method = methods.build(Config(model=TutorialConfig(num_samples=SAMPLES, width=WIDTH)))
    optimizer, mesh = make_optimizer(OptimizerConfig()), ray_mesh()
    data = jax.device_put(scene())
    state = init_state(method, optimizer, data, mesh)
    passes = max(1, rays // 128)  # as `run.py` does on a CPU
    steps = make_train_steps(method, optimizer, mesh, rays, 1, passes).lower(state, data).compile()

    def step() -> None:
        nonlocal state
        state, metrics = steps(state, data)
        jax.block_until_ready(metrics)

    return step


class TorchNerf(torch.nn.Module):
    """Four layers, the concatenated input, four more; a head with the direction."""

    def __init__(self) -> None:
        super().__init__()
        relu, linear = torch.nn.ReLU, torch.nn.Linear
        stem, hidden = [linear(63, WIDTH), relu()], [linear(WIDTH, WIDTH), relu()]
        more = [layer for _ in range(3) for layer in (linear(WIDTH, WIDTH), relu())]
        self.block1 = torch.nn.Sequential(*stem, *more)
        again = [linear(WIDTH + 63, WIDTH), relu(), *hidden, linear(WIDTH, WIDTH), relu()]
        self.block2 = torch.nn.Sequential(*again, linear(WIDTH, WIDTH + 1))
        self.block3 = torch.nn.Sequential(
            linear(WIDTH + 27, WIDTH // 2), relu(), linear(WIDTH // 2, 3), torch.nn.Sigmoid()
        )

    @staticmethod
    def encode(x: torch.Tensor, bands: int) -> torch.Tensor:
        waves = [f(2.0**band * x) for band in range(bands) for f in (torch.sin, torch.cos)]
        return torch.cat([x, *waves], dim=-1)

    def forward(
        self, x: torch.Tensor, direction: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoded = self.encode(x, 10)
        h = self.block2(torch.cat([self.block1(encoded), encoded], dim=-1))
        rgb = self.block3(torch.cat([h[:, :-1], self.encode(direction, 4)], dim=-1))
        return rgb, torch.relu(h[:, -1])


def in_torch(rays: int) -> Callable[[], None]:
    """One training step of the same method in eager PyTorch."""
    network = TorchNerf()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)
    origin = torch.randn(rays, 3)
    direction = torch.nn.functional.normalize(torch.randn(rays, 3), dim=-1)
    target = torch.rand(rays, 3)
    even = torch.linspace(NEAR, FAR, SAMPLES)
    middle = (even[1:] + even[:-1]) / 2
    lower, upper = torch.cat([even[:1], middle]), torch.cat([middle, even[-1:]])

    def step() -> None:
        t = lower + (upper - lower) * torch.rand(rays, SAMPLES)
        delta = torch.cat([t[:, 1:] - t[:, :-1], torch.full((rays, 1), 1e10)], dim=-1)
        x = origin[:, None] + t[..., None] * direction[:, None]
        towards = direction[:, None].expand(-1, SAMPLES, -1)
        rgb, sigma = network(x.reshape(-1, 3), towards.reshape(-1, 3))
        alpha = 1 - torch.exp(-sigma.reshape(rays, SAMPLES) * delta)
        through = torch.cumprod(1 - alpha, dim=-1)
        through = torch.cat([torch.ones(rays, 1), through[:, :-1]], dim=-1)
        w = through * alpha
        color = (w[..., None] * rgb.reshape(rays, SAMPLES, 3)).sum(1) + 1 - w.sum(-1, keepdim=True)
        loss = ((color - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rays", type=int, default=1024, help="rays per step")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each, alternating")
    args = parser.parse_args()
    steps = {"nerf_jax": in_jax(args.rays), "PyTorch, eager": in_torch(args.rays)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(args.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_number:  # the first is warm-up
                seconds[name].append(time.perf_counter() - start)
    rates = {name: args.rays / float(np.median(taken)) for name, taken in seconds.items()}
    pairs = zip(seconds["PyTorch, eager"], seconds["nerf_jax"], strict=True)
    ratio = float(np.median([theirs / ours for theirs, ours in pairs]))
    for name, rate in rates.items():
        print(f"{name:16s} {rate:8.1f} rays/s")
    print(f"{'ratio':16s} {ratio:8.2f}   (median of {args.rounds} pairs)")
    figures = {
        "rays_per_step": args.rays,
        "samples": SAMPLES,
        "width": WIDTH,
        "seconds_per_step": seconds,
        "rays_per_second": rates,
        "ratio": ratio,
    }
    write_record(Path(__file__), figures, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
