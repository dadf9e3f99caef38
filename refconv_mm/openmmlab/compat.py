"""Corrections of faults in the libraries that refconv_mm extends, in the versions that :mod:`.versions` lets pass.

Each entry describes the fault, its report and its correction. `prepare()` can be called at any time and repeatedly. An
entry for a library that is not imported does nothing: an import of mmdet would cost every user of mmseg seconds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch
from mmcv.cnn.utils import flops_counter
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dataset import BaseDataset
from mmengine.device import get_device
from mmengine.dist import utils as dist_utils
from mmengine.fileio import LocalBackend
from mmengine.runner import checkpoint

from ..files.errors import DataError
from ..files.reading import load_from_local
from ..files.unpickling import checkpoint_globals, takes_allow_list
from ..files.writing import write_whole
from ..layers.refconv2d import REFCONV_FOR
from .extension import use_torchvision
from .versions import distribution_version


def ssd_head_loss_cls() -> None:
    """mmdet 3.2 to 3.5: `SSDHead` never sets `loss_cls`, which `predict_by_feat` reads, so no SSD evaluates.

    open-mmlab/mmdetection#11063, #11780. A class attribute of None is enough for `predict_by_feat`.
    """
    module = sys.modules.get('mmdet.models.dense_heads.ssd_head')
    if module is not None and not hasattr(module.SSDHead, 'loss_cls'):
        module.SSDHead.loss_cls = None


# The same correction as a line of a config. Only a call may import here: mmengine reads a config with an import
# statement as one of its new style.
_SSD_LINE = """
# mmdet 3.2 and 3.3 cannot predict with SSDHead, which lacks this attribute (open-mmlab/mmdetection#11063).
# Reading the config adds it. A config that another tool writes from this one loses the line: copy it.
__import__('mmdet.models.dense_heads.ssd_head', fromlist=['SSDHead']).SSDHead.loss_cls = None
"""


def with_corrections(text: str) -> str:
    """Adds the corrections to the text of a plain config that its model needs where refconv_mm is not installed."""
    return text + _SSD_LINE if re.search(r"\bSSDHead['\"]", text) else text


def voc_class_names() -> None:
    """mmdet 3: VOCMetric prints VOC's class names ("aeroplane") for the classes of any data set in VOC layout.

    open-mmlab/mmdetection#9878, #5000. `VOCMetric` takes the names from `dataset_type`, which `VOCDataset` sets by the
    folder's name; without it the metric takes those of the data set. Scores do not depend on it.
    """
    module = sys.modules.get('mmdet.evaluation.metrics.voc_metric')
    if module is None or hasattr(module.VOCMetric.compute_metrics, 'refconv_original'):
        return
    original, voc = module.VOCMetric.compute_metrics, sys.modules['mmdet.evaluation.functional'].get_classes('voc')

    def compute_metrics(self: Any, results: list) -> dict:
        if list(self.dataset_meta['classes']) != voc:
            self.dataset_meta = {key: value for key, value in self.dataset_meta.items() if key != 'dataset_type'}
        return original(self, results)

    compute_metrics.refconv_original = original  # type: ignore[attr-defined]
    module.VOCMetric.compute_metrics = compute_metrics


def mmengine_checkpoint_globals() -> None:
    """mmengine up to 0.10.7 cannot load its own checkpoints under torch 2.6 and newer (`weights_only=True`).

    open-mmlab/mmengine#1655, #1650. The protection stays on; the types that mmengine stores are allowed.
    """
    if takes_allow_list():
        torch.serialization.add_safe_globals(checkpoint_globals())


def mmengine_local_put() -> None:
    """mmengine 0.10 writes checkpoints in place: a kill or a full disk leaves half a file under the final name.

    No report was found. The file is written beside and renamed.
    """

    def put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: Path(temporary).write_bytes(obj))

    LocalBackend.put = put


def mmengine_load_url() -> None:
    """mmengine 0.10 unpickles what it downloads with `weights_only=False`, the default of torch.hub: code in it runs.

    No report was found. Downloads are read as local files are: with the protection, unless `TRUST` is set.
    """

    def load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> Any:
        folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
        path = folder / Path(url.partition('?')[0]).name
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
        return load_from_local(str(path), map_location)

    checkpoint.load_url = load_url


def init_dist_without_gpu() -> None:
    """mmengine 0.10: `init_dist('pytorch')` calls `torch.cuda.set_device` and fails on a machine without a GPU.

    On a machine without an accelerator the process group is made without this call.
    """
    if get_device() != 'cpu' or hasattr(dist_utils._init_dist_pytorch, 'refconv_original'):
        return

    def init(backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
        torch.distributed.init_process_group(backend=backend, **kwargs)

    init.refconv_original = dist_utils._init_dist_pytorch  # type: ignore[attr-defined]
    dist_utils._init_dist_pytorch = init


def dataset_names_its_files() -> None:
    """mmengine 0.10: an error while a sample is read does not name its file, and a worker's error has no frames.

    pillow says 'image file is truncated', for instance. The error becomes a DataError with the sample's files.
    """
    original = BaseDataset.prepare_data
    if hasattr(original, 'refconv_original'):
        return

    def prepare_data(self: Any, idx: int) -> Any:
        try:
            return original(self, idx)
        except Exception as error:
            info = self.get_data_info(idx)
            files = [str(info[key]) for key in ('img_path', 'seg_map_path', 'xml_path') if info.get(key)]
            raise DataError(f'{" or ".join(files)}: {type(error).__name__}: {error}') from error

    prepare_data.refconv_original = original  # type: ignore[attr-defined]
    BaseDataset.prepare_data = prepare_data


def fork_of_mmsegmentation() -> None:
    """The fork of mmengine looks for the distribution `mmsegmentation`, so configs from `mmseg::` do not open.

    No report was found. mmdet's and mmpretrain's forks are found by the names of their modules.
    """
    if distribution_version('onedl-mmsegmentation') is not None:
        MODULE2PACKAGE['mmseg'] = 'onedl-mmsegmentation'


def mmcv_flop_counter() -> None:
    """mmcv 2: `get_model_complexity_info` knows exact classes only, so it counts no FLOPs for RefConv layers.

    A layer counts as the class that it replaces, if mmcv counts that one.
    """
    original = flops_counter.get_modules_mapping
    if hasattr(original, 'refconv_original'):
        return

    def get_modules_mapping() -> dict:
        known = original()
        return known | {kind: known[plain] for plain, kind in REFCONV_FOR.items() if plain in known}

    get_modules_mapping.refconv_original = original  # type: ignore[attr-defined]
    flops_counter.get_modules_mapping = get_modules_mapping


def mmcv_without_ops() -> None:
    """mmcv-lite has no compiled ops, and others may lack a GPU: mmdet's and mmseg's models do not import or run.

    open-mmlab/mmcv#2938, #3035, #3310; mmdetection#6765, #11530, #11531. No fault of the code: mmcv's wheels end at
    torch 2.1, and compiling it takes a compiler and minutes. torchvision's ops stand in (:mod:`.extension`), if this
    comes before mmdet's or mmseg's models are imported.
    """
    use_torchvision()


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
    mmcv_flop_counter,
)


def prepare() -> None:
    """Applies the entries for the imported libraries.

    Our commands and RefConvHook call it. A script of your own calls it once the libraries of its config are imported,
    before it builds a model or reads a checkpoint.
    """
    for entry in ENTRIES:
        entry()
