import pytest

from nerf_jax.app import backend, cli

FLAG = "--xla_backend_extra_options=-nvptx-allow-ftz-atomics"


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0", "0.11.0.dev20260801"])
@pytest.mark.parametrize("platforms", ["", "cuda", "gpu,cpu"])
def test_the_versions_that_need_the_flag_get_it(version: str, platforms: str):
    environment = {"JAX_PLATFORMS": platforms}
    note = backend.allow_fast_atomics(environment, version, gpu=True)
    assert environment["XLA_FLAGS"] == FLAG
    assert note is not None
    assert version in note


@pytest.mark.parametrize(
    ("version", "gpu", "environment"),
    [
        ("0.10.1", True, {}),
        ("0.11.1", True, {}),
        ("0.9.0", True, {}),
        ("0.10.2", False, {}),
        ("0.10.2", True, {"JAX_PLATFORMS": "cpu"}),
        ("0.10.2", True, {"XLA_FLAGS": FLAG}),
        ("0.10.2", True, {"XLA_FLAGS": "--xla_backend_extra_options=-nvptx-allow-ftz-atomics=0"}),
    ],
)
def test_nothing_else_changes(version: str, gpu: bool, environment: dict[str, str]):
    before = dict(environment)
    assert backend.allow_fast_atomics(environment, version, gpu=gpu) is None
    assert environment == before


def test_the_users_flags_are_kept():
    environment = {"XLA_FLAGS": "--xla_gpu_autotune_level=0"}
    backend.allow_fast_atomics(environment, "0.10.2", gpu=True)
    assert environment["XLA_FLAGS"] == f"--xla_gpu_autotune_level=0 {FLAG}"


def test_the_command_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(cli, "allow_fast_atomics", lambda environment: "a flag was set")
    assert cli.main(["eval", "/no/such/run"]) == 1
    assert capsys.readouterr().out == "a flag was set\n"
