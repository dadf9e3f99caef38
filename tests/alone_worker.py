"""Runs fused detectors with mmdet's own tools where refconv_mm cannot be imported: FOLDER of fused.py, IMAGE, VOC."""

import runpy
import sys
from pathlib import Path

sys.modules['refconv_mm'] = None  # any import of it or from it is an ImportError
import mmdet  # noqa: E402
from mmdet.apis import DetInferencer, inference_detector, init_detector  # noqa: E402
from mmdet.models.dense_heads import SSDHead  # noqa: E402
from mmengine.config import Config  # noqa: E402

TEST = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'test.py'


def forget() -> None:
    """The correction is of a class, so of the process; each tool starts without it."""
    if 'loss_cls' in vars(SSDHead):
        del SSDHead.loss_cls


def test(folder: Path, root: str) -> None:
    loader = ['batch_size=1', 'num_workers=0', 'persistent_workers=False', f'dataset.data_root={root}/']
    options = [f'test_dataloader.{option}' for option in loader]
    sys.argv = ['test.py', str(folder / 'fused.py'), str(folder / 'fused.pth'), '--work-dir', str(folder / 'out')]
    sys.argv += ['--cfg-options', 'log_level=ERROR', *options]
    runpy.run_path(str(TEST), run_name='__main__')


def fails_without_the_line(folder: Path, image: str) -> None:
    text = (folder / 'fused.py').read_text().partition('__import__')[0]
    model = init_detector(Config.fromstring(text, '.py'), str(folder / 'fused.pth'), device='cpu')
    try:
        inference_detector(model, image)
    except AttributeError as error:
        if "'SSDHead' object has no attribute 'loss_cls'" not in str(error):
            raise
    else:
        raise SystemExit('SSDHead predicts without the line that fuse writes: it can go')


def main(folder: Path, image: str, root: str) -> None:
    forget()
    fails_without_the_line(folder, image)
    test(folder, root)
    forget()
    model = init_detector(str(folder / 'fused.py'), str(folder / 'fused.pth'), device='cpu')
    found = inference_detector(model, image).pred_instances.bboxes
    forget()
    inferencer = DetInferencer(weights=str(folder / 'fused.pth'), device='cpu', show_progress=False)  # of meta['cfg']
    again = inferencer(image)['predictions'][0]['bboxes']
    assert len(again) == len(found) > 0
    print(folder.name, 'ran')


if __name__ == '__main__':
    folder, *rest = sys.argv[1:]
    for path in sorted(Path(folder).iterdir()):
        main(path, *rest)
