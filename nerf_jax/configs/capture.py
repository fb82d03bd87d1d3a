"""Your own photos, of an object, a room or a view: ten minutes on two CPU cores.

    python run.py prepare photos/ --output data/mine
    python run.py --config capture.py --data.root data/mine

The first command estimates the camera poses (``pip install 'nerf_jax[prepare]'``). It is not needed
for scenes prepared with COLMAP, nerfstudio or instant-ngp. Images are reduced to at most 500 pixels
(``--data.max_side``). The photos choose the space, the steps and, by the sparse points, the scale.
A GPU's memory chooses their size and that of the tables; not measured on a GPU yet.
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
    space="auto",
    box_radius=1.0,
    num_levels=8,
    num_features=4,
    max_entries=2**17,
    max_resolution=1024,
    width=32,
    environment=True,
    distortion=0.01,
    depth_weight=0.1,
    depth_weight_final=0.1,
    grid_resolution=96,
    grid_cells=2**16,
    grid_alpha=0.1,
    num_candidates=0,
    max_samples=2**12,
    candidates_per_sample=12,
    min_transmittance=1e-3,
    min_alpha=1e-3,
    roulette_weight=0.125,
    direction_noise=0.15,
    camera_model=True,
)
CPU = Config(
    name="capture",
    note="8 levels of 2^17 entries, an occupancy grid of 96^3 cells, images of at most 500 pixels: "
    "for two CPU cores and ten minutes",
    data=DataConfig(
        scene="capture", max_side=500, normalize="points", background="random", plane_sweep=True
    ),
    model=CPU_MODEL,
    optimizer=OptimizerConfig(
        learning_rate=2e-2, warmup_steps=100, schedule=Cosine(), beta2=0.99, epsilon=1e-15
    ),
    train=TrainConfig(
        num_steps=30_000,
        max_seconds=600.0,
        rays_per_step=2048,
        steps_per_call=20,
        checkpoint_every=3000,
    ),
    eval=EvalConfig(rays_per_chunk=2**13),
    render=RenderConfig(path="tour", num_frames=60),
)


def gpu(max_side: int, log2_entries: int) -> Config:
    """The preset for a GPU, with photos of at most some pixels and tables of some size."""
    model = replace(
        CPU_MODEL,
        max_entries=2**log2_entries,
        max_resolution=4096,
        width=64,
        activations="bfloat16",
        corners="at_once",
        loops=False,
        grid_resolution=128,
        grid_every=1,
        max_samples=2**17,
        candidates_per_sample=6,
    )
    return replace(
        CPU,
        note=f"8 levels of 2^{log2_entries} entries, images of at most {max_side} pixels",
        data=replace(CPU.data, max_side=max_side),
        model=model,
        optimizer=replace(CPU.optimizer, learning_rate=1e-2),
        train=TrainConfig(num_steps=20_000, rays_per_step=2**15, checkpoint_every=5000),
        eval=EvalConfig(rays_per_chunk=2**17),
        render=RenderConfig(path="tour", num_frames=120, fps=30.0),
    )


def config(platform: str, memory_gib: float = 24.0) -> Config:
    """The preset for "cpu", "gpu" or "tpu"; a GPU's for 6, 12 or 24 GB."""
    if platform == "cpu":
        return CPU
    if memory_gib <= 8:
        return gpu(800, 19)
    return gpu(1200, 20) if memory_gib <= 16 else gpu(1600, 21)
