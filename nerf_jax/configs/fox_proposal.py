"""The fox by proposal sampling: small hash grids in place of the occupancy grid.

    python run.py --config fox_proposal.py

The data, the field and the time are those of ``fox.py``; the result has not been measured yet. On
lego, proposals of these sizes learned as much from as many rays as the occupancy grid, but took
seven times as long (``benchmarks/results/proposals.json``). On a CPU, prefer ``fox.py``.
"""

from dataclasses import replace

from nerf_jax.config import CONFIGS, Exponential, HashConfig, ProposalConfig, load

_fox = load(str(CONFIGS / "fox.py"), "cpu")
assert isinstance(_fox.model, HashConfig)
_SAME = "space box_radius num_levels num_features max_entries max_resolution width distortion"
config = replace(
    _fox,
    name="fox_proposal",
    note="64 + 24 proposals, 16 samples a ray, 1024 rays a step: two CPU cores and ten minutes",
    model=ProposalConfig(
        **{name: getattr(_fox.model, name) for name in _SAME.split()},
        num_proposals=(64, 24),
        num_samples=16,
        proposal_resolutions=(64, 128),
        proposal_entries=2**15,
        anneal_steps=500,
    ),
    optimizer=replace(
        _fox.optimizer, learning_rate=1e-2, schedule=Exponential(final=0.05, steps=3500)
    ),
    train=replace(
        _fox.train, num_steps=4000, rays_per_step=1024, validate_every=500, checkpoint_every=1000
    ),
    eval=replace(_fox.eval, rays_per_chunk=4096),
)
