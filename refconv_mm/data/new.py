"""`refconv new`: configs for a folder of data, with everything that depends on the data and the machine filled in."""

from __future__ import annotations

import os
import pprint
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from . import templates
from .layouts import Layout, detect_layout
from .layouts.base import loaded_size
from ..files.writing import check_free, write_text

HERE = Path(__file__).resolve().parent
# The shipped config whose model and runtime are taken, by task.
SHIPPED = {
    'detection': 'voc/ssdlite_mobilenetv2_voc0712.py',
    'segmentation': 'cityscapes/deeplabv3plus_mobilenetv2-d8_cityscapes-512x1024.py',
    'classification': 'imagenet/mobilenetv2_imagenet.py',
}
RATES = {'detection': (0.02, 0.005), 'segmentation': (0.01, 0.01), 'classification': (0.05, 0.01)}  # docs/results.md
KEPT = ('default_scope', 'model', 'env_cfg', 'vis_backends', 'visualizer', 'default_hooks', 'custom_hooks', 'val_cfg',
        'test_cfg', 'data_preprocessor', 'log_level')  # fmt: skip
FILES = ('base.py', 'baseline.py', 'control.py', 'refocused.py', 'compare.py')
MEASURED = 500  # images, at most
EPOCHS, LEAST, MOST = 20, 600, {'cpu': 3000, 'cuda': 30000}  # of the baseline, in steps but for the first


@dataclass
class Facts:
    """What a folder of data holds.

    Attributes:
        images: by split.
        width, height: medians in pixels.
        boxes: of the train split by class; empty without boxes.
        sides: shorter sides of the boxes, relative to their image.
    """

    images: dict[str, int]
    width: int
    height: int
    boxes: dict[str, int]
    sides: list[float]


def find_facts(layout: Layout) -> Facts:
    """Reads the annotations of a folder, and the sizes of at most `MEASURED` images of the train split.

    Raises:
        ValueError: no image of the train split can be read.
    """
    records = [record for record in layout.records('train') if record.image]
    step = -(-len(records) // MEASURED) or 1
    sizes = {record.image: size for record in records[::step] if (size := loaded_size(record.image))}
    if not sizes:
        raise ValueError(f'{layout.root}: no image of the train split can be read; refconv check-data tells more')
    boxes = [(record.image, box) for record in records for box in record.boxes or ()]
    sides = []
    for image, box in boxes:
        if image in sizes:
            x1, y1, x2, y2 = box.corners
            sides.append(min((x2 - x1) / sizes[image][0], (y2 - y1) / sizes[image][1]))
    width, height = (int(statistics.median(size[i] for size in sizes.values())) for i in (0, 1))
    return Facts(layout.images, width, height, Counter(box.label for _, box in boxes), sides)


def settings_of(layout: Layout, facts: Facts) -> dict[str, Any]:
    """Size, batch and schedule for a folder of data on this machine."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    trained = facts.images['train'] if len(facts.images) > 1 else facts.images['train'] * 4 // 5
    batch = max(1, min({'cpu': 8, 'cuda': 24}[device], trained // 4))
    if layout.task == 'segmentation':
        batch = max(2, batch // 2)
    epochs = EPOCHS * trained // batch
    steps = min(max(epochs, LEAST), MOST[device])
    rate, tuned = RATES[layout.task]
    return dict(
        device='a GPU' if device == 'cuda' else 'a CPU', batch=batch,
        workers=max(1, min(4, (os.cpu_count() or 2) // 2)), steps=steps,
        more=steps // 3, rate=rate * batch / 8, tuned=tuned * batch / 8,
        size=size_for(layout.task, facts, device), trained=trained,
    )  # fmt: skip


def size_for(task: str, facts: Facts, device: str) -> tuple[int, int]:
    """Height and width of what the net gets."""
    if task == 'detection':
        # The smallest at which most boxes are large enough for the finest anchors; a GPU can bear the usual size.
        few = device == 'cuda' or small_boxes(facts, 224) > 0.1
        side = 320 if few and max(facts.width, facts.height) > 224 else 224
        return side, side
    if task == 'classification':
        side = min(224, max(64, min(facts.width, facts.height) // 32 * 32))
        return side, side
    most = 256 if device == 'cpu' else 512
    height, width = (max(64, min(most, side // 32 * 32)) for side in (facts.height, facts.width))
    return height, width


def small_boxes(facts: Facts, side: int) -> float:
    """The share of the boxes that are smaller than 16 pixels in images of a size."""
    return sum(part * side < 16 for part in facts.sides) / max(1, len(facts.sides))


def shipped_config(name: str) -> Config:
    """A config that the package ships: in a wheel under `.mim`, in a clone beside the package."""
    paths = [HERE / '.mim' / 'configs' / name, HERE.parent / 'configs' / name]
    return Config.fromfile(next(path for path in paths if path.is_file()))


def base_text(task: str) -> str:
    """Model and runtime of the shipped config, with nothing of its data and schedule, and no `_base_`."""
    cfg = shipped_config(SHIPPED[task])
    kept = Config({key: cfg[key] for key in KEPT if key in cfg})
    for part in ('decode_head', 'auxiliary_head', 'backbone'):
        if part in kept.model and kept.model[part].get('norm_cfg', {}).get('type') == 'SyncBN':
            kept.model[part].norm_cfg.type = 'BN'  # SyncBN needs several GPUs
    return kept.pretty_text


def literal(value: Any, indent: int = 0) -> str:
    """A value as Python, as a config has it: `dict(...)` with a line for each key."""
    pad = ' ' * (indent + 4)
    if isinstance(value, dict) and value and all(str(key).isidentifier() for key in value):
        lines = [f'{pad}{key}={literal(part, indent + 4)},\n' for key, part in value.items()]
        short = ', '.join(f'{key}={part!r}' for key, part in value.items() if not isinstance(part, dict))
        if len(value) * 2 <= 4 and all(not isinstance(part, dict) for part in value.values()) and len(short) < 60:
            return f'dict({short})'
        return f'dict(\n{"".join(lines)}{" " * indent})'
    return pprint.pformat(value, width=110 - indent, compact=True).replace('\n', '\n' + pad)


def make_texts(layout: Layout, facts: Facts, out: Path) -> dict[str, str]:
    """The text of every file, by name."""
    settings = settings_of(layout, facts)
    height, width = settings['size']
    values = dict(
        settings, layout=layout.name, task=layout.task, root=layout.root, out=out, height=height, width=width,
        classes=literal(layout.classes), median=f'{facts.width}x{facts.height}',
        found=told(layout, facts), warmup=settings['steps'] // 10,
        more_warmup=settings['more'] // 10,
        collate=", collate_fn=dict(type='default_collate')" if layout.task == 'classification' else '',
        epochs=epochs_of(settings, 'steps'), more_epochs=epochs_of(settings, 'more'),
        **{f'{split}_set': literal(without_root(layout.dataset(split))) for split in ('train', 'val', 'test')},
        **evaluator(layout, facts, height),
    )  # fmt: skip
    imports = ['refconv_mm.data.layouts'] if "'YoloDataset'" in values['train_set'] else []
    values['imports'] = f'\ncustom_imports = dict(imports={imports})  # YoloDataset\n' if imports else ''
    values['all_imports'] = ['refconv_mm', *imports]
    baseline = templates.HEAD + templates.TASKS[layout.task] + templates.SCHEDULE
    texts = dict(base=templates.BASE + base_text(layout.task), baseline=baseline.format(**values))
    texts |= {name: text.format(**values) for name, text in templates.OTHERS.items()}
    return {f'{name}.py': text for name, text in texts.items()}


def epochs_of(settings: dict[str, Any], steps: str) -> float:
    """How many epochs a number of steps is."""
    return round(settings[steps] * settings['batch'] / settings['trained'], 1)


def without_root(dataset: dict[str, Any]) -> dict[str, Any]:
    """A data set without what the config names once for all splits."""
    return {key: value for key, value in dataset.items() if key not in ('data_root', 'metainfo')}


def evaluator(layout: Layout, facts: Facts, side: int) -> dict[str, Any]:
    """The evaluators' text, the metric that decides with its scale, and what only detection needs."""
    if layout.task == 'segmentation':
        return dict(evaluator="dict(type='IoUMetric', iou_metrics=['mIoU'])", test_evaluator='val_evaluator',
                    metric='mIoU', scale=1)  # fmt: skip
    if layout.task == 'classification':
        return dict(evaluator="dict(type='Accuracy', topk=(1,))", test_evaluator='val_evaluator',
                    metric='accuracy/top1', scale=1)  # fmt: skip
    more = dict(small=round(100 * small_boxes(facts, side)))
    if layout.name != 'coco':
        text = "dict(type='VOCMetric', metric='mAP', eval_mode='area', iou_thrs=[0.5, 0.75])"
        return dict(more, evaluator=text, test_evaluator='val_evaluator', metric='pascal_voc/mAP', scale=100)
    form = "dict(type='CocoMetric', ann_file=data_root + {!r}, metric='bbox', classwise=True)"
    texts = [form.format(layout.dataset(split)['ann_file']) for split in ('val', 'test')]
    return dict(more, evaluator=texts[0], test_evaluator=texts[1], metric='coco/bbox_mAP', scale=100)


def told(layout: Layout, facts: Facts) -> str:
    """What was found, in a line."""
    images = ', '.join(f'{count} images to {split}' for split, count in facts.images.items())
    boxes = ', '.join(f'{count} {name}' for name, count in facts.boxes.items())
    boxes = f'; boxes: {boxes}' if boxes else ''
    return f'{images}, {len(layout.classes)} classes, median size {facts.width}x{facts.height}{boxes}'


def write_configs(folder: Path, out: Path, task: str | None = None, force: bool = False) -> tuple[list[Path], str]:
    """Writes a config set for a folder of data: baseline, control, refocused and a plan for `refconv compare`.

    Args:
        folder: the data.
        out: the folder that gets the configs; they name the data and each other, and nothing of this package's files.
        task: that the data must be for; by default what its layout is for.
        force: overwrite.

    Returns:
        The files, and what was found.

    Raises:
        FileNotFoundError, FileExistsError: no such folder, or a config would be overwritten.
        ValueError: the layout is unknown or for another task.
    """
    layout = detect_layout(folder.resolve())
    if task not in (None, layout.task):
        raise ValueError(f'{folder} is in the {layout.name} layout, which is for {layout.task}, not for {task}')
    check_free(out, FILES, force)
    facts = find_facts(layout)
    texts = make_texts(layout, facts, out.resolve())
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts], f'{layout.name} layout, {layout.task}: {told(layout, facts)}'
