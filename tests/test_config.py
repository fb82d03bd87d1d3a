import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from nerf_jax import config as configs
from nerf_jax.config import (
    Config,
    DataConfig,
    EvalConfig,
    Exponential,
    ExportConfig,
    Milestones,
    MipConfig,
    NerfConfig,
    OptimizerConfig,
    RenderConfig,
    TrainConfig,
    TutorialConfig,
    load,
)
from nerf_jax.config.serialization import from_dict, near_miss, to_dict

PACKAGED = sorted(path.name for path in configs.CONFIGS.glob("*.py"))

UNUSUAL = Config(
    name="unusual",
    note="every kind of value",
    data=DataConfig(
        scene="lego", root=Path("some/where"), format="blender", image_size=(30, 40), near=0.5
    ),
    model=TutorialConfig(num_samples=7),
    optimizer=OptimizerConfig(schedule=Milestones(epochs=(1.0, 2.5), factor=0.3)),
    train=TrainConfig(max_seconds=3.5),
    render=RenderConfig(elevation_degrees=-10.0, size=(48, 64), formats=("gif", "exr")),
)


def through_json(config: Config) -> Config:
    return from_dict(Config, json.loads(json.dumps(to_dict(config))))


# ------------------------------------------------------------------------------ round trip


@pytest.mark.parametrize("config", [Config(), UNUSUAL], ids=lambda config: config.name)
def test_json_round_trip_returns_the_same_config(config: Config):
    again = through_json(config)
    assert again == config
    assert type(again.model) is type(config.model)
    assert type(again.optimizer.schedule) is type(config.optimizer.schedule)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configs_load_and_survive_json(name: str, platform: str):
    config = load(name, platform)
    assert config.name == Path(name).stem
    assert through_json(config) == config


def test_missing_fields_have_their_defaults():
    values = {"name": "short", "model": {"method": "tutorial", "width": 8}, "train": {}}
    assert from_dict(Config, values) == Config(name="short", model=TutorialConfig(width=8))


def test_integers_are_accepted_for_float_fields():
    config = from_dict(Config, {"data": {"near": 1, "far": 3}})
    assert isinstance(config.data.near, float)
    assert config == Config(data=DataConfig(near=1.0, far=3.0))


@pytest.mark.parametrize(
    ("size", "expected"),
    [("2GB", 2e9), ("1.5 GiB", 1.5 * 2**30), ("500m", 5e8), ("64kib", 2**16), (" 1TB ", 1e12)],
)
def test_sizes_have_units(size: str, expected: float):
    assert DataConfig(memory=size).memory_bytes == expected
    assert DataConfig().memory_bytes is None


# -------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trian": {}}, r"config\.trian: no such field\. Did you mean train\?"),
        ({"train": {"num_step": 3}}, r"config\.train\.num_step: no such field\. .*num_steps"),
        (
            {"optimizer": {"schedule": {"kind": "milestones", "epoch": []}}},
            r"config\.optimizer\.schedule\.epoch: no such field\. Did you mean epochs\?",
        ),
        ({"train": {"num_steps": "many"}}, r"config\.train\.num_steps: expected int, .*'many'"),
        ({"train": {"num_steps": 2.5}}, r"config\.train\.num_steps: expected int, found 2\.5"),
        ({"train": {"num_steps": True}}, r"config\.train\.num_steps: expected int, found True"),
        ({"train": {"max_seconds": "1"}}, r"config\.train\.max_seconds: expected float, .*'1'"),
        ({"data": {"near": True}}, r"config\.data\.near: expected float, found True"),
        ({"data": {"root": 3}}, r"config\.data\.root: expected Path, found 3"),
        ({"data": {"format": "blend"}}, r"config\.data\.format: .*'blender'.* found 'blend'"),
        ({"data": {"image_size": [3]}}, r"config\.data\.image_size: expected tuple.*found \[3\]"),
        ({"data": {"image_size": [3, "4"]}}, r"config\.data\.image_size: expected int, .*'4'"),
        ({"data": 3}, r"config\.data: expected a table of fields, found 3"),
        (
            {"model": {"method": "nerv"}},
            r"config\.model\.method: .*tutorial, found 'nerv'",
        ),
        ({"model": {"width": 3}}, r"config\.model\.method: .*nerf, proposal, tutorial, found None"),
        ({"model": {"method": ["nerf"]}}, r"config\.model\.method: .*, found \['nerf'\]"),
        ({"model": None}, r"config\.model\.method: .*nerf, proposal, tutorial, found None"),
        ({"model": "nerf"}, r"config\.model: expected a table of fields, found 'nerf'"),
        ({"name": 3}, r"config\.name: expected str, found 3"),
        ([], r"config: expected a table of fields, found \[\]"),
    ],
)
def test_errors_in_a_saved_config_give_the_path_of_the_field(values, message: str):
    with pytest.raises(ValueError, match=message):
        from_dict(Config, values)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (DataConfig, {"downscale": 0}, "data.downscale must be at least 1, but is 0"),
        *(
            (DataConfig, {"memory": size}, f"data.memory must be a size such as 2GB .* is '{size}'")
            for size in ("2", "GB", "-1GB", "0GB", "two GB", "1e3MB", "2GBs")
        ),
        (DataConfig, {"near": -1.0}, "data.near must be finite and at least 0, but is -1.0"),
        (DataConfig, {"near": 6.0, "far": 6.0}, "data.near must be below data.far=6.0, but is 6.0"),
        (DataConfig, {"near": float("nan")}, "data.near must be finite"),
        (DataConfig, {"far": float("inf")}, "data.far must be finite"),
        (DataConfig, {"image_size": (0, 4)}, "data.image_size must be positive"),
        (TutorialConfig, {"num_samples": 1}, "model.num_samples must be at least 2"),
        (TutorialConfig, {"width": 0}, "model.width must be positive"),
        (TutorialConfig, {"position_bands": -1}, "model.position_bands must be at least 0"),
        (TutorialConfig, {"direction_bands": -1}, "model.direction_bands must be at least 0"),
        (NerfConfig, {"num_coarse": 1}, "model.num_coarse must be at least 2"),
        (NerfConfig, {"num_fine": 0}, "model.num_fine must be positive"),
        (NerfConfig, {"depth": 0}, "model.depth must be positive"),
        (NerfConfig, {"depth": 4}, r"model.skip must be in \[0, 4\], but is 5"),
        (NerfConfig, {"skip": -1}, "model.skip must be in"),
        (NerfConfig, {"position_bands": -1}, "model.position_bands must be at least 0"),
        (NerfConfig, {"direction_bands": -1}, "model.direction_bands must be at least 0"),
        (MipConfig, {"num_samples": 1}, "model.num_samples must be at least 2"),
        (MipConfig, {"position_bands": 0}, "model.position_bands must be positive"),
        (MipConfig, {"depth": 4}, r"model.skip must be in \[0, 4\], but is 5"),
        (MipConfig, {"direction_bands": -1}, "model.direction_bands must be at least 0"),
        (MipConfig, {"coarse_weight": -1.0}, "model.coarse_weight must be finite and at least 0"),
        (MipConfig, {"color_padding": float("inf")}, "model.color_padding must be finite"),
        (Exponential, {"final": 0.0}, "optimizer.schedule.final must be positive"),
        (Exponential, {"steps": -1}, "optimizer.schedule.steps must be at least 0"),
        (Milestones, {"epochs": (2.0, 1.0)}, "schedule.epochs must be positive and ascending"),
        (Milestones, {"epochs": (0.0, 1.0)}, "schedule.epochs must be positive and ascending"),
        (Milestones, {"factor": 0.0}, "schedule.factor must be positive"),
        (OptimizerConfig, {"learning_rate": 0.0}, "optimizer.learning_rate must be positive"),
        (OptimizerConfig, {"learning_rate": float("inf")}, "learning_rate must be positive"),
        (OptimizerConfig, {"epsilon": 0.0}, "optimizer.epsilon must be positive"),
        (OptimizerConfig, {"warmup_steps": -1}, "optimizer.warmup_steps must be at least 0"),
        (OptimizerConfig, {"beta1": 1.0}, r"optimizer.beta1 must be in \[0, 1\)"),
        (OptimizerConfig, {"beta2": -0.1}, r"optimizer.beta2 must be in \[0, 1\)"),
        (TrainConfig, {"num_steps": 0}, "train.num_steps must be positive"),
        (TrainConfig, {"num_steps": 2**31}, r"train.num_steps must be below 2\^31"),
        (TrainConfig, {"rays_per_step": 0}, "train.rays_per_step must be positive"),
        (TrainConfig, {"validation_rays": -1}, "train.validation_rays must be at least 0"),
        (TrainConfig, {"max_seconds": 0.0}, "train.max_seconds must be positive"),
        (TrainConfig, {"seed": -1}, "train.seed must be at least 0"),
        (TrainConfig, {"seed": 2**32}, r"train.seed must be below 2\^32"),
        (TrainConfig, {"steps_per_call": -1}, "train.steps_per_call must be at least 0"),
        (TrainConfig, {"validate_every": -1}, "train.validate_every must be at least 0"),
        (TrainConfig, {"checkpoint_every": -1}, "train.checkpoint_every must be at least 0"),
        (
            TrainConfig,
            {"report_every_seconds": -1.0},
            "train.report_every_seconds must be at least 0",
        ),
        (EvalConfig, {"every": 0}, "eval.every must be positive"),
        (EvalConfig, {"rays_per_chunk": 0}, "eval.rays_per_chunk must be positive"),
        (ExportConfig, {"parts": ()}, "export.parts must be mesh, points or cameras"),
        (ExportConfig, {"crop": (0, 0, 0, 1, 0, 1)}, "export.crop must be six finite numbers"),
        (ExportConfig, {"crop": (0, 0, 0, 1, 1, float("inf"))}, "export.crop must be six finite"),
        (ExportConfig, {"resolution": 4}, "export.resolution must be at least 8"),
        (ExportConfig, {"components": -1}, "export.components must be at least 0"),
        (ExportConfig, {"faces": 3}, "export.faces must be 0 or at least 4"),
        (ExportConfig, {"level": 0.0}, "export.level must be positive"),
        (ExportConfig, {"max_points": 0}, "export.max_points must be positive"),
        (RenderConfig, {"num_frames": -1}, "render.num_frames must be at least 0"),
        (RenderConfig, {"fps": 0.0}, "render.fps must be positive"),
        (RenderConfig, {"elevation_degrees": 90.0}, "elevation_degrees must be between -90 and 90"),
        (RenderConfig, {"elevation_degrees": float("nan")}, "elevation_degrees must be between"),
        (RenderConfig, {"downscale": 0}, "render.downscale must be positive"),
        (
            RenderConfig,
            {"path": "orbti"},
            "render.path must be orbit, .* ends in .json, but is 'orbt",
        ),
        (RenderConfig, {"size": (48, 0)}, r"render.size must be two sides .* but is \(48, 0\)"),
        (RenderConfig, {"outputs": ()}, "render.outputs must be not empty"),
    ],
)
def test_invalid_values_are_reported_with_the_field(section, values, message: str):
    with pytest.raises(ValueError, match=message):
        section(**values)


def test_replace_checks_the_new_value_and_configs_are_frozen():
    config = Config()
    with pytest.raises(ValueError, match=r"train\.seed"):
        replace(config, train=replace(config.train, seed=-1))
    with pytest.raises(FrozenInstanceError):
        config.name = "other"


# --------------------------------------------------------------------------------- loading


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_load_accepts_a_path(tmp_path: Path):
    path = write(tmp_path, "from nerf_jax.config import Config\nconfig = Config(name='mine')\n")
    assert load(path, "cpu") == Config(name="mine")


def test_load_passes_the_platform_to_a_function(tmp_path: Path):
    text = "from nerf_jax.config import Config\ndef config(platform): return Config(name=platform)"
    for platform in ("cpu", "gpu", "tpu"):
        assert load(write(tmp_path, text), platform).name == platform


def test_load_passes_the_memory_to_a_function_of_two_arguments(tmp_path: Path):
    text = (
        "from nerf_jax.config import Config\n"
        "def config(platform, memory_gib): return Config(name=f'{platform} {memory_gib}')"
    )
    assert load(write(tmp_path, text), "gpu", 9.0).name == "gpu 9.0"


def test_the_presets_of_cards_with_more_memory_are_larger():
    pixels, entries, samples = zip(
        *(
            (capture.data.max_side, capture.model.max_entries, lego.model.max_samples)
            for memory in (4.5, 9.0, 18.0)
            for capture, lego in [[load(name, "gpu", memory) for name in ("capture", "lego")]]
        ),
        strict=True,
    )
    assert pixels == (800, 1200, 1600)
    assert entries == (2**19, 2**20, 2**21)
    assert samples == (2**17, 2**18, 2**18)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_configs_are_found_with_and_without_suffix(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(name, "cpu") == load(name.removesuffix(".py"), "cpu")


def test_a_file_in_the_working_directory_takes_precedence(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "bricks.py"
    here.write_text("from nerf_jax.config import Config\nconfig = Config(name='here')\n")
    assert load("bricks.py", "cpu").name == "here"
    assert load("bricks", "cpu").name == "bricks"


def test_a_file_in_the_working_directory_does_not_change_what_is_built_on_its_namesake(
    tmp_path: Path, monkeypatch
):
    packaged = {name: load(name, "cpu") for name in ("bricks", "fern", "fox", "fox_proposal")}
    for name in ("lego", "capture"):
        (tmp_path / f"{name}.py").write_text("config = 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    assert {name: load(name, "cpu") for name in packaged} == packaged


def test_lego_takes_smaller_sizes_where_there_is_time_for_few_steps():
    quick, long = (load("lego.py", "cpu", num_steps=count).model for count in (3999, 4000))
    assert (quick.width, quick.max_entries, quick.max_resolution) == (32, 2**17, 256)
    assert (long.width, long.max_entries, long.max_resolution) == (64, 2**18, 512)
    assert load("lego.py", "gpu", num_steps=1) == load("lego.py", "gpu")


@pytest.mark.parametrize("name", ["brick", "bircks.py", "Bricks"])
def test_load_suggests_similar_names(name: str):
    with pytest.raises(ValueError, match=rf"no config '{name}'.* Did you mean .*bricks\.py"):
        load(name, "cpu")


def test_load_lists_all_configs_if_no_name_is_similar():
    with pytest.raises(ValueError, match="no config 'zzz': ") as error:
        load("zzz", "cpu")
    assert all(name in str(error.value) for name in PACKAGED)
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = (", r"mine\.py: SyntaxError"),
        ("config = 1 / 0", r"mine\.py: ZeroDivisionError: division by zero"),
        ("import there_is_none", r"mine\.py: ModuleNotFoundError: .*there_is_none"),
        (
            "from nerf_jax.config import *\nconfig = Config(train=TrainConfig(seed=-1))",
            r"mine\.py: ValueError: train\.seed must be at least 0, but is -1",
        ),
        ("def config(platform): return 1 / 0", r"mine\.py: ZeroDivisionError"),
        ("", r"mine\.py: must define `config`.*found NoneType"),
        ("config = {'name': 'mine'}", r"mine\.py: must define `config`.*found dict"),
        ("def config(platform): return 3", r"mine\.py: must define `config`.*found int"),
    ],
)
def test_invalid_config_files_are_reported_with_the_error(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, text), "cpu")


def test_near_miss_lists_the_most_similar_first():
    assert near_miss("dept", ["width", "depth", "skip"]) == " Did you mean depth?"
    assert near_miss("num_fin", ["num_coarse", "num_fine"]).startswith(" Did you mean num_fine")
    assert near_miss("zzz", ["width", "depth", "skip"]) == ""
