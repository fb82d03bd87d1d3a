from nerf_jax.data.files import atomic_write


def test_a_name_of_255_bytes_is_written_atomically(tmp_path):
    for name in ("x" * 251 + ".png", "x." + "y" * 253):
        with atomic_write(tmp_path / name) as aside:
            aside.write_text("whole")
            assert aside.suffix == ".png" or ".png" not in name
            assert not (tmp_path / name).exists()
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()
