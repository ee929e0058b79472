"""Two processes, started by torchrun, equal one; whatever stops them is said once."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch

from labelkit.train import read_checkpoint, read_recipe, train
from labelkit.train.batches import BatchShares
from labelkit.train.data import EpochSampler
from labelkit.train.processes import Processes
from tests.train.support import recipe_text

if TYPE_CHECKING:
    from pathlib import Path

# No batch norm and no dropout. SGD, since Adam's first steps have the sign of a gradient.
SETTINGS = (
    *("model={name='test_vit', kwargs={img_size=32}, ema_decay=0.5}",),
    *("optimizer={name='sgd', lr=0.05, clip_grad=1.0}", "schedule.epochs=2"),
    *("run.batch_size=11", "run.accumulate=2"),  # 24 evaluation images in batches of 6
)


def torchrun(recipe: Path, *changes: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command += ["-m", "labelkit", "train", str(recipe)]
    command += [part for change in changes for part in ("--set", change)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], check=False, capture_output=True, text=True, env=environment
    )


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(photos, epochs=1))
    return path


def test_two_processes_equal_one(recipe: Path, tmp_path: Path) -> None:
    """Batches of 11 are shared as 6 and 5, those of the evaluation as 3 and 3."""
    one = train(read_recipe(recipe, [f"run.output={tmp_path / 'one'}", *SETTINGS]))
    first = torchrun(recipe, f"run.output={tmp_path / 'two'}", *SETTINGS)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("epoch 1/2") == 1
    two = read_checkpoint(tmp_path / "two" / "last.pt")
    alone = read_checkpoint(tmp_path / "one" / "last.pt")
    for part in ("model", "ema"):
        for name, tensor in alone.state[part].items():
            assert torch.allclose(tensor, two.state[part][name], rtol=0, atol=1e-5), name
    for record, other in zip(one.records, two.records, strict=True):
        assert other.train_loss == pytest.approx(record.train_loss, abs=1e-5)
        assert other.lr == record.lr
        assert other.metrics == pytest.approx(record.metrics, abs=1e-5)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_have_each_sample_once(count: int, *, shuffle: bool) -> None:
    """Also where the last batch has fewer images than there are processes."""
    sampler = EpochSampler(23, 7, shuffle=shuffle)
    sampler.epoch = 3
    whole = list(BatchShares(sampler, 7))
    shares = [BatchShares(sampler, 7, Processes(rank, count)) for rank in range(count)]
    assert [len(batch) for batch in whole] == [7, 7, 7] + [2] * (not shuffle)
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]
    for number, batch in enumerate(whole, start=1):
        parts = [list(share)[number - 1 : number] for share in shares]
        assert [draw for part in parts for draws in part for draw in draws] == batch
        sizes = [len(part[0]) if part else 0 for part in parts]
        assert all(0 <= one - other <= 1 for one, other in pairwise(sizes))
        assert shares[-1].positions(number) == [position for position, _ in batch]


def test_a_process_without_images_still_takes_part_in_the_evaluation() -> None:
    """One image and two processes: the second has a blank image, and no target."""
    from labelkit.train.data import make_loader

    class One(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __getitem__(self, _: int) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.ones(3, 8, 8), torch.tensor(4)

    shares = [
        BatchShares(EpochSampler(1, 0, shuffle=False), 2, Processes(rank, 2)) for rank in range(2)
    ]
    found = [list(share.loaded(make_loader(One(), share, workers=0), side=8)) for share in shares]
    assert [target.tolist() for batches in found for _, target in batches] == [[4], []]
    assert [images.shape for batches in found for images, _ in batches] == [(1, 3, 8, 8)] * 2


class Ended(NamedTuple):
    """How a process ended."""

    code: int | None
    out: str
    err: str


def launch(folder: Path, recipe: Path, *changes: str, script: str = "pass") -> list[Ended]:
    """Run ``labelkit train`` in two forked processes, which need not import torch again.

    As under torchrun, the store that connects them is in neither; ``script`` runs before the
    command, with ``rank``.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    arguments = ["train", str(recipe), *(part for each in changes for part in ("--set", each))]
    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=_run_rank, args=(rank, store.port, folder, script, arguments))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    return [
        Ended(
            process.exitcode, *((folder / f"{name}{rank}").read_text() for name in ("out", "err"))
        )
        for rank, process in enumerate(ranks)
    ]


def _run_rank(rank: int, port: int, folder: Path, script: str, arguments: list[str]) -> None:
    from labelkit.cli import run

    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    sys.stdout = (folder / f"out{rank}").open("w", buffering=1)
    sys.stderr = (folder / f"err{rank}").open("w", buffering=1)
    exec(script, {"rank": rank})  # noqa: S102 -- our own
    sys.exit(run(arguments))


def test_an_error_of_one_process_is_said_once(recipe: Path, tmp_path: Path, photos: Path) -> None:
    """An image is damaged after its header, which is all that is checked first."""
    shutil.copytree(photos, tmp_path / "photos")
    path = tmp_path / "photos" / "train" / "leaf" / "007.png"
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(200) + content[300:])
    changes = [f"data.train={tmp_path}/photos/train", f"run.output={tmp_path / 'run'}"]
    ended = launch(tmp_path, recipe, *changes)
    assert [each.code for each in ended] == [1, 1]
    assert sorted(each.err.count(str(path)) for each in ended) == [0, 1]
    assert min(len(each.err) for each in ended) == 0
    assert ended[1].out == ""
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("change", ["run.seed=x", "model.name=resnet9999", "run.batch_size=1"])
def test_what_all_processes_reject_is_said_once(recipe: Path, tmp_path: Path, change: str) -> None:
    ended = launch(tmp_path, recipe, change, f"run.output={tmp_path / 'run'}")
    assert [each.code for each in ended] == [1, 1]
    assert sorted(each.err.count("Error: ") for each in ended) == [0, 1]
    name = change.partition("=")[0]
    assert name in ended[0].err + ended[1].err


KILL = """
import os, signal
import labelkit.train.loop as loop
write = loop.write_log
def killing(folder, records):
    write(folder, records)
    if rank == 0 and len(records) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
loop.write_log = killing
"""


def test_a_killed_run_of_two_processes_resumes(recipe: Path, tmp_path: Path) -> None:
    """Bit for bit, with batch norm's statistics, dropout and the average; the other process stops.

    It is killed after the first epoch's checkpoint.
    """
    settings = ("schedule.epochs=2", "model.ema_decay=0.5", "run.batch_size=24")
    whole = launch(tmp_path, recipe, f"run.output={tmp_path / 'whole'}", *settings)
    assert [each.code for each in whole] == [0, 0]
    folder = f"run.output={tmp_path / 'killed'}"
    killed = launch(tmp_path, recipe, folder, *settings, script=KILL)
    assert [each.code for each in killed] == [-signal.SIGKILL, 1]
    assert "the connection to another process is lost" in killed[1].err
    assert read_checkpoint(tmp_path / "killed" / "last.pt").epoch == 1
    resumed = launch(tmp_path, recipe, folder, *settings)
    assert [each.code for each in resumed] == [0, 0]
    assert "Resuming after epoch 1" in resumed[0].out
    one, other = (read_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "killed"))
    for part in ("model", "ema"):
        for name, tensor in one.state[part].items():
            assert torch.equal(tensor, other.state[part][name]), name
    assert [each.metrics for each in one.records] == [each.metrics for each in other.records]


def test_synchronised_batch_norm_needs_gpus(recipe: Path, tmp_path: Path) -> None:
    ended = launch(tmp_path, recipe, "run.sync_bn=true", f"run.output={tmp_path / 'run'}")
    assert "run.sync_bn needs GPUs, not cpu" in ended[0].err + ended[1].err
