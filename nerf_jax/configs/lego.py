"""The lego scene with the flagship method.

    python run.py --config lego.py

On two CPU cores, at 400x400: 34.6 dB after ten minutes, on val views 0, 12, ..., 84 over white;
2.0 GB of memory. ``--train.max_seconds 120`` for a first result. On a GPU, 2^19 entries a level at
800x800 for 20k steps; not measured yet. The method of the 2020 paper is ``lego_nerf.py``.
"""

from dataclasses import replace

from nerf_jax.config import (
    Config,
    Cosine,
    DataConfig,
    EvalConfig,
    HashConfig,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
)

CPU_MODEL = HashConfig(
    box_radius=1.25,
    num_levels=8,
    num_features=4,
    max_entries=2**18,
    max_resolution=512,
    width=64,
    grid_cells=2**16,
    grid_alpha=0.03,
    num_candidates=384,
    max_samples=8192,
    candidates_per_sample=6,
    min_transmittance=1e-3,
    min_alpha=1e-3,
)
CPU = Config(
    name="lego",
    note="images of half the size and 8 levels of 2^18 entries, for two CPU cores and ten minutes; "
    "--train.max_seconds 120 for a first result",
    data=DataConfig(scene="lego", downscale=2, near=2.0, far=6.0, background="random"),
    model=CPU_MODEL,
    # Small steps: in ten minutes, more steps improve the result more than more samples in each.
    optimizer=OptimizerConfig(
        learning_rate=2e-2, warmup_steps=100, schedule=Cosine(), beta2=0.99, epsilon=1e-15
    ),
    train=TrainConfig(
        num_steps=100_000,
        max_seconds=600.0,
        rays_per_step=6144,
        steps_per_call=40,
        checkpoint_every=4000,
    ),
    eval=EvalConfig(every=12, rays_per_chunk=160_000),
)
QUICK = replace(
    CPU,
    note="images of half the size and 8 levels of 2^17 entries, for fewer than 4,000 steps",
    model=replace(
        CPU_MODEL,
        max_entries=2**17,
        max_resolution=256,
        width=32,
        num_candidates=256,
    ),
    train=replace(CPU.train, rays_per_step=4096),
)

# Few large kernels, and none that the host waits for: benchmarks/gpu_compile.py. More rays than
# fit cost little, as all candidates are read anyway: they fill the buffers where space is empty.
GPU_MODEL = HashConfig(
    num_levels=8,
    num_features=4,
    grid_alpha=0.015,
    num_candidates=768,
    candidates_per_sample=5,
    activations="bfloat16",
    corners="at_once",
    loops=False,
    grid_every=1,
    grid_cells=2**16,
)
GPU = Config(
    name="lego",
    note="8 levels of 2^19 entries, 2^18 samples a step, 800x800",
    data=replace(CPU.data, downscale=1),
    model=GPU_MODEL,
    optimizer=replace(CPU.optimizer, learning_rate=1e-2),
    train=TrainConfig(num_steps=20_000, rays_per_step=2**17, checkpoint_every=5000),
    eval=EvalConfig(every=12, rays_per_chunk=640_000),
    render=RenderConfig(num_frames=120, fps=30.0),
)

SMALL_GPU = replace(
    GPU,
    note="half the samples in twice the steps, for a GPU of 6 GB",
    model=replace(GPU_MODEL, max_samples=2**17),
    train=replace(GPU.train, num_steps=40_000, rays_per_step=2**16),
    eval=replace(GPU.eval, rays_per_chunk=160_000),
)


def config(platform: str, memory_gib: float = 24.0, num_steps: float = 1e9) -> Config:
    """The preset for "cpu", "gpu" or "tpu", and on a CPU for the steps that there is time for."""
    if platform == "cpu":
        return CPU if num_steps >= 4000 else QUICK
    return GPU if memory_gib > 8 else SMALL_GPU
