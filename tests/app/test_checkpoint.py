"""Checkpoints: what goes in comes out, and what is damaged says so."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nerf_jax.app.checkpoint import Checkpoints


def tree(scale: float = 1.0, width: int = 3) -> dict:
    return {
        "weights": jnp.arange(2.0 * width).reshape(2, width) * scale,
        "step": jnp.int32(7 * scale),
        "key": jax.random.key(5),
        "empty": (),
    }


def saved(folder, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, tree(step), {"step": step, "name": "bricks"})
    checkpoints.close()
    return checkpoints


def test_round_trip(tmp_path):
    checkpoints = saved(tmp_path / "a", 1, 2)
    assert checkpoints.latest() == 2
    found = Checkpoints(tmp_path / "a").restore(tree())
    np.testing.assert_array_equal(found["weights"], tree(2)["weights"])
    assert found["step"] == 14
    assert found["step"].dtype == jnp.int32
    # The key draws what it drew before.
    assert jax.random.bits(found["key"]) == jax.random.bits(jax.random.key(5))
    assert Checkpoints(tmp_path / "a").metadata(dict) == {"step": 2, "name": "bricks"}


def test_only_the_newest_are_kept(tmp_path):
    saved(tmp_path, 1, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


def test_saving_survives_the_donation_of_what_is_saved(tmp_path):
    checkpoints, state = Checkpoints(tmp_path), {"x": jnp.zeros(100_000)}
    advance = jax.jit(lambda state: {"x": state["x"] + 1}, donate_argnums=0)
    state = advance(state)
    checkpoints.save(1, state, {})
    for _ in range(20):
        state = advance(state)
    checkpoints.close()
    np.testing.assert_array_equal(Checkpoints(tmp_path).restore(state)["x"], 1.0)


def test_nothing_there(tmp_path):
    assert Checkpoints(tmp_path / "none").latest() is None
    with pytest.raises(FileNotFoundError, match="no checkpoint there yet"):
        Checkpoints(tmp_path / "none").restore(tree())
    assert not (tmp_path / "none").exists(), "looking makes no folder"


def test_other_sizes(tmp_path):
    saved(tmp_path, 4)
    with pytest.raises(ValueError, match=r"4: damaged, or made by another method or other sizes"):
        Checkpoints(tmp_path).restore(tree(width=4))
    with pytest.raises(ValueError, match=r"4: damaged, or made by another method"):
        Checkpoints(tmp_path).restore({"other": jnp.zeros(3)})


def test_damage_is_named(tmp_path):
    saved(tmp_path, 4)
    for path in (tmp_path / "4" / "tree").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"4: damaged"):
        Checkpoints(tmp_path).restore(tree())


def test_a_foreign_folder_is_named(tmp_path):
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "weights.pt").write_text("not ours")
    with pytest.raises(ValueError, match=r"9: damaged"):
        Checkpoints(tmp_path).restore(tree())
    with pytest.raises(ValueError, match=r"9: not a checkpoint of nerf_jax"):
        Checkpoints(tmp_path).metadata(dict)


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    checkpoints = Checkpoints(tmp_path / "file" / "checkpoints")
    with pytest.raises(OSError, match=r"file/checkpoints: the checkpoint could not be written"):
        checkpoints.save(1, tree(), {})


def test_a_full_disk_is_named_and_the_last_checkpoint_kept(tmp_path, monkeypatch):
    saved(tmp_path, 4)
    full = shutil._ntuple_diskusage(10**6, 10**6, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(OSError, match=r"no space left: 0 MiB free .* one is of step 4"):
        Checkpoints(tmp_path).save(5, tree(), {})
    assert Checkpoints(tmp_path).latest() == 4


def test_a_half_written_checkpoint_is_no_checkpoint(tmp_path):
    saved(tmp_path, 4)
    shutil.copytree(tmp_path / "4", tmp_path / "5.orbax-checkpoint-tmp")
    assert Checkpoints(tmp_path).latest() == 4
