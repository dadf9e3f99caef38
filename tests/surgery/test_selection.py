import pytest
import torch
import torch.nn.utils.prune
from mmcv.cnn import Conv2d as WrappedConv2d
from mmcv.ops import DeformConv2d, ModulatedDeformConv2d
from torch import nn

from refconv_mm import RefConv2d, RefConvOptions, fuse, refocus
from refconv_mm.surgery.selection import note_on, select

KINDS = ('depthwise', 'grouped', 'dense')
ALL = RefConvOptions(kinds=KINDS)


class Odd(nn.Conv2d):
    def forward(self, x):
        return super().forward(x.flip(-1))


def net() -> nn.Module:
    model = nn.ModuleDict(
        dict(
            stem=nn.Conv2d(3, 8, 3),
            dw=nn.Conv2d(8, 8, 3, groups=8),
            grouped=WrappedConv2d(8, 8, 5, groups=4),
            point=nn.Conv2d(8, 8, 1),
            odd=Odd(8, 8, 3),
            small=nn.Conv2d(8, 8, 2),
            normed=nn.utils.weight_norm(nn.Conv2d(8, 8, 3)),
            spectral=nn.utils.spectral_norm(nn.Conv2d(8, 8, 3)),
            parametrized=nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
            pruned=nn.utils.prune.l1_unstructured(nn.Conv2d(8, 8, 3), 'weight', 0.5),
            done=RefConv2d(8, 8, 3),
            head=nn.Linear(8, 2),
        )
    )
    model['tied'] = nn.Conv2d(8, 8, 3)
    model['knot'] = nn.Conv2d(8, 8, 3)
    model['knot'].weight = model['tied'].weight
    return model


def test_it_chooses_what_it_can_and_says_why_not():
    chosen, skipped = select(net(), options=ALL)
    assert set(chosen) == {'stem', 'dw', 'grouped'}
    assert skipped == {
        'point': 'pointwise: nothing to refocus',
        'odd': 'Odd (tests.surgery.test_selection): RefConv does not replace this type',
        'small': 'kernel (2, 2) smaller than map_k=3',
        **dict.fromkeys(('normed', 'spectral', 'pruned'), 'its kernel is computed (weight norm or the like)'),
        'parametrized': 'ParametrizedConv2d (torch.nn.utils.parametrize): RefConv does not replace this type',
        'done': 'refocused already',
        'tied': 'shares a parameter with another layer, from which refocusing would separate it',
        'knot': 'shares a parameter with another layer, from which refocusing would separate it',
    }


@pytest.mark.parametrize(('options', 'names'), [
    (dict(include='d*'), {'dw'}),
    (dict(include=['stem', 'gr*']), {'stem', 'grouped'}),
    (dict(exclude='stem'), {'dw', 'grouped'}),
    (dict(kinds=('depthwise',)), {'dw'}),
    (dict(kinds='depthwise'), {'dw'}),
    (dict(kinds=('dense', 'grouped')), {'stem', 'grouped'}),
    (dict(map_k=5), {'grouped'}),
])  # fmt: skip
def test_globs_kinds_and_kernels(options, names):
    assert set(refocus(net(), dry_run=True, **{'kinds': KINDS, **options}).matched) == names


@pytest.mark.parametrize(('options', 'error', 'match'), [
    (dict(include='backbone.*'), ValueError, r"'backbone\.\*' matches no convolution.*stem"),
    (dict(include=['dw', 'nothing']), ValueError, "'nothing'"),
    (dict(include='point'), ValueError, 'pointwise'),
    (dict(exclude='*'), ValueError, 'excluded'),
    (dict(exclude=['stem', 'hed.*']), ValueError, r"exclude pattern 'hed\.\*' matches no convolution"),
    (dict(kinds=('fat',)), ValueError, "'fat'"),
    (dict(kinds=()), ValueError, 'kinds'),
    (dict(include=3), TypeError, 'include'),
    (dict(exclude=[None]), TypeError, 'exclude'),
    (dict(map_k=7), ValueError, 'map_k=7'),
])  # fmt: skip
def test_an_error_leaves_the_model_as_it_was(options, error, match):
    model = net()
    before = {name: type(module) for name, module in model.named_modules()}
    with pytest.raises(error, match=match):
        refocus(model, **{'kinds': KINDS, **options})
    assert {name: type(module) for name, module in model.named_modules()} == before


def test_what_is_no_net_is_refused():
    with pytest.raises(ValueError, match='from_conv2d'):
        select(nn.Conv2d(4, 4, 3))
    with pytest.raises(TypeError, match=r'nn\.Module'):
        select('resnet50')
    with pytest.raises(ValueError, match='no convolution; the model has: none at all'):
        select(nn.Sequential(nn.Linear(2, 2)))


def test_other_convolutions_are_named_as_left_alone():
    others = nn.ModuleDict(
        dict(
            one=nn.Conv1d(4, 4, 3),
            three=nn.Conv3d(4, 4, 3),
            up=nn.ConvTranspose2d(4, 4, 3),
            lazy=nn.LazyConv2d(4, 3),
            complex=nn.Conv2d(4, 4, 3, dtype=torch.complex64),
            empty=nn.Conv2d(0, 4, 3),
            deform=DeformConv2d(4, 4, 3),
            modulated=ModulatedDeformConv2d(4, 4, 3),
            qat=torch.ao.nn.qat.Conv2d(4, 4, 3, qconfig=torch.ao.quantization.get_default_qat_qconfig()),
            norm=nn.LayerNorm((4, 4, 4)),
        )
    )
    skipped = refocus(nn.ModuleDict(dict(others=others, conv=nn.Conv2d(4, 4, 3))), kinds=KINDS).skipped
    assert skipped['others.complex'] == skipped['others.empty'] == 'its kernel is complex or has no numbers'
    assert set(skipped) == {f'others.{name}' for name in set(others) - {'norm'}}
    assert skipped['others.qat'] == 'Conv2d (torch.ao.nn.qat.modules.conv): RefConv does not replace this type'
    with pytest.raises(ValueError, match=r'reasons: 1 x Conv3d \(torch\.nn\.modules\.conv\): RefConv does not replace'):
        select(nn.Sequential(nn.Conv3d(4, 4, 3)))


def test_convolutions_of_a_refocused_part_that_stayed_plain_are_named():
    def model() -> nn.Module:
        layers = RefConv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3)
        return nn.ModuleDict(dict(backbone=nn.Sequential(*layers), head=nn.Conv2d(8, 8, 3, groups=8)))

    note = note_on(model())
    assert note.startswith('1 of 2 KxK convolutions of backbone stayed plain: backbone.1. ')
    assert 'RefocusedBackbone' in note
    assert fuse(model()).note == note
    whole = model()
    refocus(whole)
    assert note_on(whole) == ''


def test_a_model_of_dense_layers_is_told_how_and_what_we_measured():
    with pytest.raises(
        ValueError, match=r"2 x dense: not asked for\. kinds='dense' refocuses .* lost 1\.2 to 3\.1 top-1"
    ):
        refocus(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)))


def test_kinds_that_were_left_out_on_purpose_are_no_surprise():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)))
    refocus(model, kinds='depthwise')
    assert note_on(model) == ''
    model[0].append(nn.Conv2d(4, 4, 3, groups=4))
    assert note_on(model).startswith('1 of 2 KxK convolutions of 0 stayed plain: 0.2. ')
