"""What the options of ``labelkit relabel`` mean for its engine."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from labelkit.cli.options import worker_count

if TYPE_CHECKING:
    from labelkit.cli.relabel_options import RelabelOptions, TeacherOptions
    from labelkit.hierarchy import ClassList
    from labelkit.relabel import Settings, Share
    from labelkit.teachers import Teacher


def device_and_share(options: RelabelOptions) -> tuple[str, Share]:
    """The device of this process, and its place among others: from torchrun, if not given."""
    from labelkit.relabel import Share

    device = options["devices"][0] if options["devices"] else options["device"]
    if options["shard"]:
        return device, Share(*options["shard"])
    rank, count = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and count.isdecimal()):
        return device, Share()
    local = os.environ.get("LOCAL_RANK", "")
    if device == "auto" and local.isdecimal():
        import torch

        device = f"cuda:{local}" if torch.cuda.is_available() else device
    return device, Share(int(rank), int(count))


def only_size(options: TeacherOptions) -> int | None:
    """The input side if there is only one: a model may be built for it."""
    match options["sizes"]:
        case [[size]]:
            return size
        case _:
            return None


def load_teachers(options: TeacherOptions, device: str) -> list[Teacher]:
    """Each named teacher once, on the device."""
    from labelkit.teachers import load_teacher

    return [
        load_teacher(
            name,
            device=device,
            size=only_size(options),
            force=options["force"],
            precision=options["precision"],
            compiled=options["compiled"],
        )
        for name in dict.fromkeys(options["teachers"])
    ]


def settings_for_device(settings: Settings, options: RelabelOptions, kind: str) -> Settings:
    """The settings with what depends on the device; processes share the cores of a machine."""
    import torch

    workers = worker_count(options["workers"], torch.device(kind))
    if options["workers"] is None and kind == "cuda" and options["devices"]:
        workers = max(1, min(8, (os.cpu_count() or 1) // len(options["devices"])))
    batch = 128 if kind == "cuda" else 8
    return replace(settings, batch_size=options["batch_size"] or batch, workers=workers)


def settings_of(
    options: RelabelOptions,
    classes: ClassList | None,
    synsets: dict[str, str],
) -> Settings:
    """The settings of the maps; what depends on the device comes later."""
    from labelkit.relabel import CalibrationSample, Settings

    grid = options["grid"]
    images, calibration = options["calibration_sample"], CalibrationSample()
    if images:
        calibration = replace(calibration, images=images)
    return Settings(
        selection=options["selection"],
        top_k=options["top_k"],
        grid=(grid, grid) if grid else None,
        sizes=options["sizes"],
        flip=options["flip"],
        average=options["average"],
        classes=classes,
        synsets=synsets,
        merge=options["merge"],
        other=options["other"],
        background=options["background"],
        patterns=options["patterns"],
        scores=options["scores"],
        log_sum_exp=options["log_sum_exp"],
        calibration=None if options["no_calibration"] else calibration,
    )
