"""Photos without labels, in any folders: enough for batch-norm statistics, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ofa.data.batches import Data, usable_cpus
from ofa.data.config import DataConfig
from ofa.data.record import DataRecord
from ofa.data.sources.image_folder import list_photos
from ofa.data.sources.path_list import PathList
from ofa.data.sources.read_source import Files
from ofa.data.splits import make_splits
from ofa.errors import UserError


def load_photos(folder: Path, count: int, config: DataConfig, record: DataRecord) -> Data:
    """At most `count` random photos in a folder or below it as the part `train` of data, all with label 0.

    Channels and normalisation are those of `record`, whose images the photos take the place of.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    paths = list_photos(folder)
    chosen = np.random.default_rng(config.split_seed).permutation(len(paths))[:count]
    files = Files(PathList.of(paths[i] for i in chosen), np.zeros(len(chosen), dtype=np.int64), str(folder))
    workers = usable_cpus() if config.workers is None else config.workers
    return Data(config, make_splits({"train": files}, record.channels, workers, config), record, str(folder))
