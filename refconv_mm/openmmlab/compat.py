"""Corrections of faults in the libraries that refconv_mm extends: one entry for each, for the affected versions only.

Each entry describes the fault, its report and its correction. `prepare()` can be called at any time and repeatedly. An
entry for a library that is not imported does nothing: an import of mmdet would cost every user of mmseg seconds.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version

from ..files.errors import DataError
from ..files.unpickling import TRUST, checkpoint_globals, load, takes_allow_list
from ..files.writing import write_whole
from .versions import FORKS, distribution_version, installed


def _affected(library: str, first: str, mended: str) -> bool:
    """Whether the installed version of a library lies in `[first, mended)`."""
    have = installed(library)
    return have is not None and Version(first) <= have < Version(mended)


def ssd_head_loss_cls() -> bool:
    """mmdet 3.2 to 3.5: `SSDHead` never sets `loss_cls`, which `predict_by_feat` reads, so no SSD evaluates.

    open-mmlab/mmdetection#11063, #11780. A class attribute of None is enough for `predict_by_feat`.
    """
    module = sys.modules.get('mmdet.models.dense_heads.ssd_head')
    if module is None or not _affected('mmdet', '3.2', '3.6'):
        return False
    if not hasattr(module.SSDHead, 'loss_cls'):
        module.SSDHead.loss_cls = None
    return True


# The same correction as a line of a config. Only a call may import here: mmengine reads a config with an import
# statement as one of its new style.
_SSD_LINE = """
# mmdet 3.2 and 3.3 cannot predict with SSDHead, which lacks this attribute (open-mmlab/mmdetection#11063).
# Reading the config adds it. A config that another tool writes from this one loses the line: copy it.
__import__('mmdet.models.dense_heads.ssd_head', fromlist=['SSDHead']).SSDHead.loss_cls = None
"""


def runs_alone(text: str) -> str:
    """The text of a plain config with the corrections that its model needs where refconv_mm is not installed."""
    return text + _SSD_LINE if re.search(r"\bSSDHead['\"]", text) else text


def voc_class_names() -> bool:
    """mmdet 3: VOCMetric prints VOC's class names ("aeroplane") for the classes of any data set in VOC layout.

    open-mmlab/mmdetection#9878, #5000. `VOCMetric` takes the names from `dataset_type`, which `VOCDataset` sets by the
    folder's name; without it the metric takes those of the data set. Scores do not depend on it.
    """
    module = sys.modules.get('mmdet.evaluation.metrics.voc_metric')
    if module is None or not _affected('mmdet', '3.0', '3.6'):
        return False
    original = module.VOCMetric.compute_metrics
    if not hasattr(original, 'refconv_original'):
        voc = sys.modules['mmdet.evaluation.functional'].get_classes('voc')

        def compute_metrics(self: Any, results: list) -> dict:
            meta = self.dataset_meta
            if list(meta['classes']) != voc:
                self.dataset_meta = {key: value for key, value in meta.items() if key != 'dataset_type'}
            try:
                return original(self, results)
            finally:
                self.dataset_meta = meta

        compute_metrics.refconv_original = original  # type: ignore[attr-defined]
        module.VOCMetric.compute_metrics = compute_metrics
    return True


def mmengine_checkpoint_globals() -> bool:
    """mmengine up to 0.10.7 cannot load its own checkpoints under torch 2.6 and newer (`weights_only=True`).

    open-mmlab/mmengine#1655, #1650. The protection stays on; the types that mmengine stores are allowed.
    """
    if not takes_allow_list():
        return False
    torch.serialization.add_safe_globals(checkpoint_globals())
    return True


def mmengine_local_put() -> bool:
    """mmengine 0.10 writes checkpoints in place: a kill or a full disk leaves half a file under the final name.

    No report was found. The file is written beside and renamed.
    """
    from mmengine.fileio import LocalBackend

    if not _affected('mmengine', '0', '0.11'):
        return False

    def put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: Path(temporary).write_bytes(obj))

    LocalBackend.put = put
    return True


def mmengine_load_url() -> bool:
    """mmengine 0.10 unpickles what it downloads with `weights_only=False`, the default of torch.hub: code in it runs.

    No report was found. Downloads are read as local files are: with the protection, unless `TRUST` is set.
    """
    from mmengine.runner import checkpoint

    if not _affected('mmengine', '0', '0.11'):
        return False

    def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> Any:
        folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
        path = folder / Path(url.partition('?')[0]).name
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
        return load(path, map_location, os.environ.get(TRUST) == '1')

    checkpoint.load_url = load_url
    return True


def init_dist_without_gpu() -> bool:
    """mmengine 0.10: `init_dist('pytorch')` calls `torch.cuda.set_device` and fails on a machine without a GPU.

    On a machine without an accelerator the process group is made without this call.
    """
    from mmengine.device import get_device
    from mmengine.dist import utils

    if not _affected('mmengine', '0', '0.11') or get_device() != 'cpu':
        return False
    if not hasattr(utils._init_dist_pytorch, 'refconv_original'):

        def init(backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
            if init_backend != 'torch':
                raise ValueError(f'without a GPU, init_backend must be "torch", got {init_backend!r}')
            torch.distributed.init_process_group(backend=backend, **kwargs)

        init.refconv_original = utils._init_dist_pytorch  # type: ignore[attr-defined]
        utils._init_dist_pytorch = init
    return True


def dataset_names_its_files() -> bool:
    """mmengine 0.10: an error while a sample is read does not name its file, and a worker's error has no frames.

    pillow says 'image file is truncated', for instance. The error becomes a DataError with the sample's files.
    """
    from mmengine.dataset import BaseDataset

    if not _affected('mmengine', '0', '0.11'):
        return False
    if not hasattr(BaseDataset.prepare_data, 'refconv_original'):
        original = BaseDataset.prepare_data

        def prepare_data(self: Any, idx: int) -> Any:
            try:
                return original(self, idx)
            except Exception as error:
                info = self.get_data_info(idx)
                files = [str(info[key]) for key in ('img_path', 'seg_map_path', 'xml_path') if info.get(key)]
                raise DataError(f'{" or ".join(files)}: {type(error).__name__}: {error}') from error

        prepare_data.refconv_original = original  # type: ignore[attr-defined]
        BaseDataset.prepare_data = prepare_data
    return True


def fork_of_mmsegmentation() -> bool:
    """The fork of mmengine looks for the distribution `mmsegmentation`, so configs from `mmseg::` do not open.

    No report was found. mmdet's and mmpretrain's forks are found by the names of their modules.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    if distribution_version(FORKS['mmsegmentation']) is None:
        return False
    MODULE2PACKAGE['mmseg'] = FORKS['mmsegmentation']
    return True


def mmcv_without_ops() -> bool:
    """mmcv-lite has no compiled ops, and others may lack a GPU: mmdet's and mmseg's models do not import or run.

    open-mmlab/mmcv#2938, #3035, #3310; mmdetection#6765, #11530, #11531. No fault of the code: mmcv's wheels end at
    torch 2.1, and compiling it takes a compiler and minutes. torchvision's ops stand in (:mod:`.extension`), if this
    comes before mmdet's or mmseg's models are imported.
    """
    from .extension import use_torchvision  # imports torchvision

    return use_torchvision()


ENTRIES = (
    mmcv_without_ops,
    ssd_head_loss_cls,
    voc_class_names,
    mmengine_checkpoint_globals,
    mmengine_local_put,
    mmengine_load_url,
    init_dist_without_gpu,
    dataset_names_its_files,
    fork_of_mmsegmentation,
)


def prepare() -> list[str]:
    """Applies the entries for the installed versions and the imported libraries.

    Our commands and RefConvHook call it. A script of your own calls it once the libraries of its config are imported,
    before it builds a model or reads a checkpoint.

    Returns:
        The names of the entries that were applied.
    """
    return [entry.__name__ for entry in ENTRIES if entry()]
