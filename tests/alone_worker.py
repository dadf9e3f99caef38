"""Runs a fused SSD with mmdet's own tools where refconv_mm cannot be imported: FOLDER with fused.py, and VOC."""

import runpy
import sys
from pathlib import Path

sys.modules['refconv_mm'] = None  # any import of it or from it is an ImportError
import mmdet  # noqa: E402
from mmdet.apis import inference_detector, init_detector  # noqa: E402
from mmdet.models.dense_heads import SSDHead  # noqa: E402
from mmengine.config import config  # noqa: E402

config.FormatCode = lambda text, **_: (text, True)  # formatting configs takes seconds
TEST = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'test.py'


def main(folder: Path, voc: str) -> None:
    model = init_detector(str(folder / 'fused.py'), str(folder / 'fused.pth'), device='cpu')
    image = next(Path(voc, 'VOC2007', 'JPEGImages').iterdir())
    assert len(inference_detector(model, str(image)).pred_instances.bboxes) > 0
    del SSDHead.loss_cls  # the line that `fuse` writes sets it for the process
    options = [f'test_dataloader.{word}' for word in ('batch_size=1', 'num_workers=0', f'dataset.data_root={voc}/')]
    options += ['test_dataloader.persistent_workers=False', 'log_level=ERROR']
    words = ['test.py', folder / 'fused.py', folder / 'fused.pth', '--work-dir', folder, '--cfg-options', *options]
    sys.argv = list(map(str, words))
    runpy.run_path(str(TEST), run_name='__main__')
    print('predicted and tested')


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2])
