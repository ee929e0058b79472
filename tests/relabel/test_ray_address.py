"""Which cluster is used: a dead one is not waited for, which Ray does for minutes. Starts none."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from labelkit.errors import LabelkitError
from labelkit.relabel.ray_cluster import answering, load_ray

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ray keeps the address of this machine's cluster."""
    load_ray()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray/ray_current_cluster"


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_where_no_cluster_is_known_ray_decides(recorded: Path) -> None:
    assert not recorded.exists()
    assert answering(None) is None


def test_a_running_cluster_of_this_machine_is_left_to_ray(recorded: Path, listening: str) -> None:
    recorded.write_text(listening)
    assert answering(None) is None


def test_the_address_that_a_dead_cluster_has_left_is_not_used(recorded: Path, dead: str) -> None:
    recorded.write_text(dead)
    assert answering(None) == "local"


def test_an_address_that_is_asked_for_must_answer(
    recorded: Path, listening: str, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.write_text(dead)
    assert answering(listening) == listening
    assert answering("auto") == "auto"
    for asked, found in ((dead, ""), (None, dead)):
        monkeypatch.setenv("RAY_ADDRESS", found)
        with pytest.raises(LabelkitError, match=f"nothing answers at {dead}.*ray start --head"):
            answering(asked)
