"""One scene for all attacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reliability.attack import Undisturbed
from tests.reliability.launcher import Launcher
from tests.reliability.scene import Scene


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    made = Launcher(tmp_path_factory.mktemp("printed"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def scene(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene.build(tmp_path_factory.mktemp("reliability"), launcher)


@pytest.fixture(scope="session")
def undisturbed(scene: Scene) -> Undisturbed:
    return Undisturbed(scene)
