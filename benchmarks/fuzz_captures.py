"""Inputs of the fuzz campaign: images, captures, ray tables and camera paths."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nerf_jax import config as configs
from nerf_jax import data
from nerf_jax.app.video.path_files import read_path
from nerf_jax.cameras import look_at
from nerf_jax.data import llff, transforms
from nerf_jax.data.capture import Capture
from nerf_jax.data.images import read_image

Values = dict[str, Any]
SIZE_HW = 12, 16
COUNT = 3
PHOTOS = [f"images/{index:04d}.png" for index in range(COUNT)]
FOCAL, PRINCIPAL = (20.0, 21.0), (8.5, 5.5)
LENS = {"k1": 0.05, "k2": -0.01, "p1": 0.001, "p2": 0.0}
POSES = np.stack(
    [
        look_at(np.array([4.0 * np.cos(i), 4.0 * np.sin(i), 1.0]), np.zeros(3), np.eye(3)[2])
        for i in range(COUNT)
    ]
).astype(float)


# ---------------------------------------------------------------------- images


def pixels(channels: int = 3, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE_HW, channels), np.uint8)
    return noise.squeeze(-1) if channels == 1 else noise


def write_photos(root: Path) -> None:
    (root / "images").mkdir()
    for index, name in enumerate(PHOTOS):
        Image.fromarray(pixels(seed=index)).save(root / name)


def write_images(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("jpg", "webp", "tif", "bmp"):
        Image.fromarray(pixels()).save(root / f"rgb.{suffix}", exif=exif)
    for channels in (1, 3, 4):
        Image.fromarray(pixels(channels)).save(root / f"{channels}.png")
    Image.fromarray(pixels()).convert("P").save(root / "palette.png", transparency=3)
    Image.fromarray(pixels(1).astype(np.uint16) * 257).save(root / "deep.png")
    Image.fromarray(pixels(4), "CMYK").save(root / "cmyk.jpg")


def read_images(root: Path) -> Values:
    return {path.name: read_image(path) for path in sorted(root.iterdir())}


def expect_images(root: Path) -> Values:
    found = {}
    for path in sorted(root.iterdir()):
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I;16"):
                grey = np.round(np.asarray(image) / 257).astype(np.uint8)
                found[path.name] = np.stack([grey] * 3, axis=-1)
                continue
            clear = "transparency" in image.info or image.mode[-1] in "Aa"
            upright = ImageOps.exif_transpose(image)
            found[path.name] = np.asarray(upright.convert("RGBA" if clear else "RGB"))
    return found


# ---------------------------------------------------------------------- captures


def cameras_of(capture: Capture) -> Values:
    """The cameras of a capture, by the stems of its photos; it reads the photos too."""
    config = configs.DataConfig(normalize="none", near=0.5, far=9.0, hold_out=0)
    scene = data.capture.to_scene(capture, config)
    "".join(scene.split("train").names).encode()  # reports have them
    lens, found = capture.cameras.lens, {}
    for index, photo in enumerate(capture.photos):
        zero = np.zeros(4), np.zeros(2)
        radial, tangential = zero if lens is None else (leaf[index] for leaf in lens[:2])
        found[photo.stem.casefold()] = camera_numbers(
            capture.cameras.world_from_camera[index],
            capture.cameras.focal[index],
            capture.cameras.principal[index],
            [*radial, *tangential],
        )
    return found


def camera_numbers(pose: Any, focal: Any, principal: Any, lens: Any) -> np.ndarray:
    parts = (np.asarray(part, float).ravel() for part in (pose, focal, principal, lens))
    return np.concatenate(list(parts))


def transforms_json() -> dict[str, Any]:
    frames = [
        {"file_path": name, "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}
        for name, pose in zip(PHOTOS, POSES, strict=True)
    ]
    frames[1]["mask_path"] = "mask.png"
    frames[2]["fl_x"] = FOCAL[0]
    camera = dict(zip(("fl_x", "fl_y"), FOCAL, strict=True))
    camera |= dict(zip(("cx", "cy"), PRINCIPAL, strict=True)) | {"w": SIZE_HW[1], "h": SIZE_HW[0]}
    return camera | LENS | {"camera_model": "OPENCV", "up": [0, 0, 1], "frames": frames}


def write_transforms(root: Path) -> None:
    write_photos(root)
    Image.fromarray(np.where(pixels(1) > 99, 255, 0).astype(np.uint8)).save(root / "mask.png")
    (root / "transforms.json").write_text(json.dumps(transforms_json()))


def expect_transforms(root: Path) -> Values:
    file, found = json.loads((root / "transforms.json").read_text("utf-8-sig")), {}
    for frame in file["frames"]:

        def field(name: str, default: Any = 0.0, frame: Any = frame) -> Any:
            values = (holder.get(name) for holder in (frame, file))
            return next((value for value in values if value is not None), default)

        stem = PurePosixPath(frame["file_path"].replace("\\", "/")).stem.casefold()
        own = [frame.get("fl_x"), frame.get("fl_y")]
        both = own if any(value is not None for value in own) else [field("fl_x"), field("fl_y")]
        width, height = field("w", SIZE_HW[1]), field("h", SIZE_HW[0])
        lens = [field(name) for name in ("k1", "k2", "k3", "k4", "p1", "p2")]
        found[stem] = camera_numbers(
            np.array(frame["transform_matrix"], float)[:3],
            [both[0] or both[1], both[1] or both[0]],
            [field("cx", width / 2), field("cy", height / 2)],
            lens,
        )
    return found


def write_blender(root: Path) -> None:
    write_photos(root)
    for split in ("train", "val"):
        frames = [
            {"file_path": name.removesuffix(".png"), "transform_matrix": pose.tolist()}
            for name, pose in zip(PHOTOS, POSES, strict=True)
        ]
        text = json.dumps({"camera_angle_x": 0.7, "frames": frames[split == "val" :]})
        (root / f"transforms_{split}.json").write_text(text)


def read_blender(root: Path) -> Values:
    config = configs.DataConfig(root=root, scene=root.name, format="blender")
    train = data.load(config).split("train")
    return dict(zip(train.names, np.asarray(train.dataset.cameras.world_from_camera), strict=True))


def expect_blender(root: Path) -> Values:
    frames = json.loads((root / "transforms_train.json").read_text("utf-8-sig"))["frames"]
    stems = [PurePosixPath(frame["file_path"]).stem for frame in frames]
    poses = [np.array(frame["transform_matrix"], np.float32)[:3] for frame in frames]
    return dict(zip(stems, poses, strict=True))


def write_llff(root: Path) -> None:
    write_photos(root)
    rows = []
    for pose in POSES:
        right, up, back, origin = pose.T
        matrix = np.stack([-up, right, back, origin, [*SIZE_HW, FOCAL[0]]], axis=1)
        rows.append([*matrix.ravel(), 0.5, 9.0])
    np.save(root / "poses_bounds.npy", np.array(rows))


def read_llff(root: Path) -> Values:
    config = configs.DataConfig(root=root, normalize="none", hold_out=0)
    train = llff.load(root, config).split("train")
    poses = np.asarray(train.dataset.cameras.world_from_camera)
    focal = np.asarray(train.dataset.cameras.focal)
    return {"poses": poses, "focal": focal[:, 0]}


def expect_llff(root: Path) -> Values:
    rows = np.load(root / "poses_bounds.npy")
    matrix = rows[:, :15].reshape(-1, 3, 5).astype(float)
    down, right, back, origin = (matrix[..., axis] for axis in range(4))
    return {"poses": np.stack([right, -down, back, origin], axis=-1), "focal": matrix[:, 2, 4]}


# ---------------------------------------------------------------------- rays, camera paths


def write_rays(root: Path) -> None:
    random = np.random.default_rng(0)
    rays = random.normal(size=(24, 9)).astype(np.float32)
    rays[:, 6:] = random.uniform(size=(24, 3))
    np.savez(root / "train.npz", rays=rays, size_hw=np.array([3, 4]), near_far=np.array([1.0, 9.0]))
    np.save(root / "val.npy", rays)


def read_rays(root: Path) -> Values:
    scene = data.rays.load(root, configs.DataConfig())
    found = {}
    for name in ("train", "val"):
        dataset = scene.split(name).dataset
        table: Any = dataset.cameras
        parts = table.origin, table.direction, dataset.pixels
        found[name] = np.concatenate([part.reshape(-1, 3) for part in parts], axis=1)
    return found


def expect_rays(root: Path) -> Values:
    found = {}
    for name, path in (("train", root / "train.npz"), ("val", root / "val.npy")):
        loaded = np.load(path)
        rays = (loaded if path.suffix == ".npy" else loaded["rays"]).astype(float)
        rays[:, 3:6] /= np.linalg.norm(rays[:, 3:6], axis=1, keepdims=True)
        found[name] = rays
    return found


def write_camera_path(root: Path) -> None:
    frames = [
        {"camera_to_world": [*pose.ravel().tolist(), 0, 0, 0, 1], "fov": 50.0 + index, "aspect": 1}
        for index, pose in enumerate(POSES)
    ]
    head = {"camera_type": "perspective", "render_height": 48, "render_width": 64, "fps": 24}
    path = head | {"seconds": 2.0, "camera_path": frames, "keyframes": []}
    (root / "path.json").write_text(json.dumps(path))


def read_camera_path(root: Path) -> Values:
    path = read_path(root / "path.json", (0.5, 9.0), np.eye(4))
    poses, focal = path.cameras.world_from_camera, path.cameras.focal
    return {"poses": poses, "focal": focal, "size": path.size_hw, "fps": path.fps}


def expect_camera_path(root: Path) -> Values:
    file = json.loads((root / "path.json").read_text("utf-8-sig"))
    frames, height = file["camera_path"], file["render_height"]
    poses = [np.array(frame["camera_to_world"], float).reshape(-1, 4)[:3] for frame in frames]
    half = np.radians([frame["fov"] for frame in frames]) / 2
    focal = np.stack([0.5 * height / np.tan(half)] * 2, axis=1)
    size = height, file["render_width"]
    return {"poses": np.array(poses), "focal": focal, "size": size}


def read_transforms(root: Path) -> Values:
    return cameras_of(transforms.read(root))
