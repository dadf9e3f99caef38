"""A dozen models of the sweep, each in its process; what is written, and how it goes on."""

import json

import pytest

from lab.sweep.families import LIBRARIES, OPENMMLAB, families
from lab.sweep.page import as_page
from lab.sweep.runner import planned, read_results, run_sweep

# family: how many convolutions conv_cfg reaches, of those of the backbone; '' outside OpenMMLab
DOZEN = {
    'mmpretrain/mobilenet_v2': '18 of 18',
    'mmpretrain/efficientnet': '17 of 17',
    'mmpretrain/shufflenet_v2': '20 of 20',
    'mmpretrain/lenet': 'not taken',
    'mmdet/yolox': '13 of 13',
    'mmdet/ssd': '18 of 18',
    'mmseg/fastscnn': '3 of 14',
    'mmseg/erfnet': '0 of 71',
    'torchvision/squeezenet': '',
    'torchvision/mobilenetv3': '',
    'timm/nfnet': '',
    'timm/convit': '',
    'torchvision/video.s3d': '',
}


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp('sweep') / 'results.jsonl'
    models = planned(LIBRARIES, list(DOZEN))
    return {f'{r["library"]}/{r["family"]}': r for r in run_sweep(models, path, timeout=500)}


@pytest.mark.parametrize('family', DOZEN)
def test_a_model_is_right(results, family):
    result = results[family]
    if family == 'torchvision/video.s3d':
        assert (
            result['result']
            == 'nothing to refocus: 78 x Conv3d (torch.nn.modules.conv): RefConv does not replace this type'
        )
        return
    assert result['result'] == 'right', result
    assert result['refocused'] + sum(result['left'].values()) == result['found']
    assert result['start'] == result['fused'] == 0.0
    assert result.get('conv_cfg', '') == DOZEN[family]
    assert bool(result['note']) == (family == 'timm/convit')


def test_every_library_has_families():
    for library in LIBRARIES:
        assert len(families(library)) > 30, library
    for library in OPENMMLAB:
        assert all(model.endswith('.py') for model in families(library).values())
    assert families('mmpretrain')['resnet'] == 'resnet/resnet18_8xb32_in1k.py'


def test_a_time_out_is_a_result_and_what_is_known_is_not_repeated(tmp_path):
    path = tmp_path / 'results.jsonl'
    models = planned(['torchvision'], ['torchvision/vgg', 'torchvision/alexnet'])
    known = {
        **models[0],
        'seconds': 1.0,
        'result': 'right',
        'refocused': 1,
        'found': 1,
        'left': {},
        'note': '',
        'ran': '',
    }
    path.write_text(json.dumps(known) + '\n{"library": "torchvision", "fam')
    (late,) = run_sweep(models, path, timeout=0)
    assert late['family'] == 'vgg'
    assert late['result'] == 'not finished after 0 s'
    assert read_results(path) == [known, late]
    assert not list(run_sweep(models, path, timeout=0))
    page = as_page(read_results(path), planned(['torchvision'], ['torchvision/resnet']), 'refconv sweep')
    assert '| torchvision | 2 | 1 | 0 | 1 | 0 |' in page
    assert '| vgg | `vgg11` | not finished after 0 s |' in page
    assert 'Not checked yet: torchvision/resnet.' in page
