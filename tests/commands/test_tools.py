"""The tools, as users call them."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import mmseg
import torch
from mmengine.config import Config

from refconv_mm.checkpoints.fusing import read_checkpoint
from refconv_mm.openmmlab.extension import compiled_for
from tests.conftest import ROOT, detector, random_checkpoint, run, segmenter


def test_train_fuse_test_a_detector(voc, tmp_path):
    """The whole procedure in three commands, each in its own process."""
    config, work_dir = tmp_path / 'ssdlite.py', tmp_path / 'work'
    cfg = detector(voc, work_dir, iters=2)
    cfg.log_level, cfg.train_cfg.val_interval = 'INFO', 1
    cfg.dump(config)
    start = random_checkpoint(cfg, tmp_path / 'start.pth')
    trained = run('tools/train.py', config, '--init', start, '--work-dir', work_dir)
    said = trained.stdout + trained.stderr
    words = ' '.join(said.split())
    assert 'its kernels become the bases' in words
    assert 'backbone: 156 of 156 parameters from' in words
    assert 'RefConvHook: 17 RefConv layers' in words
    assert len(said.splitlines()) < 25, said  # the log file has the rest: config, environment, every parameter
    assert re.search(r'validation at step 1: mAP@\.50 [\d.]+, mAP@\.50', said)
    log = next(work_dir.glob('*/*.log')).read_text()
    assert len(log.splitlines()) > 500
    assert 'aeroplane' not in log
    assert (work_dir / 'curves.png').is_file()
    run('tools/fuse.py', config, work_dir / 'iter_2.pth')
    out = work_dir / 'iter_2_fused'
    by_hook, by_tool = (read_checkpoint(d / 'fused.pth')['state_dict'] for d in (work_dir, out))
    assert all(torch.equal(by_hook[key], by_tool[key]) for key in by_tool)
    tested = run('tools/test.py', out / 'fused.py', out / 'fused.pth', '--work-dir', tmp_path, '--out', out / 'm.json')
    assert f'a checkpoint that was fused from {work_dir}' in ' '.join(tested.stdout.split())
    assert 'pascal_voc/mAP' in json.loads((out / 'm.json').read_text())


def test_a_refocused_backbone_trains_with_upstream_s_own_tool(city, tmp_path):
    """With `custom_imports` only: mmseg's tools/train.py does not know refconv_mm."""
    cfg = segmenter(city, tmp_path / 'work', '', iters=1)
    mit = dict(
        type='mmseg.MixVisionTransformer', embed_dims=8, num_layers=[1] * 4, num_heads=[1] * 4, out_indices=(0, 1, 2, 3)
    )
    cfg.model.backbone = dict(type='RefocusedBackbone', backbone=mit, include=['*'])
    head = dict(type='FCNHead', in_channels=8, in_index=3, channels=8, num_classes=19)
    cfg.model.decode_head, cfg.model.auxiliary_head = head, None
    cfg.custom_imports = dict(imports=['refconv_mm'], allow_failed_imports=False)
    cfg.default_hooks.refconv = dict(type='RefConvHook')
    cfg.load_from = str(random_checkpoint(cfg, tmp_path / 'start.pth'))
    cfg.log_level = 'INFO'
    cfg.dump(tmp_path / 'mit.py')
    tool = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'train.py'
    script = f"""import runpy, sys, refconv_mm.openmmlab
refconv_mm.openmmlab.prepare()
sys.argv = ['train.py', {str(tmp_path / 'mit.py')!r}]
runpy.run_path({str(tool)!r}, run_name='__main__')"""
    said = run(tool, tmp_path / 'mit.py') if compiled_for('cpu') else run('-c', script)  # docs/versions.md
    assert re.search(
        rf'starts from\n  backbone: (\d+) of \1 parameters from {cfg.load_from}', said.stdout + said.stderr
    )
    state = read_checkpoint(tmp_path / 'work' / 'iter_1.pth')['state_dict']
    assert any(key.startswith('backbone.layers') and key.endswith('.refocus') for key in state)
    assert (tmp_path / 'work' / 'fused.pth').is_file()


def test_the_tools_train_resume_and_test_under_torchrun(city, tmp_path):
    cfg = segmenter(city, tmp_path / 'work', iters=2)
    cfg.dump(tmp_path / 'seg.py')
    start = random_checkpoint(cfg, tmp_path / 'start.pth')
    launch = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', 2)
    end = ('--launcher', 'pytorch', '--work-dir', tmp_path / 'work')
    run(*launch, 'tools/train.py', tmp_path / 'seg.py', '--init', start, *end)
    last = tmp_path / 'work' / 'iter_2.pth'
    tested = run(*launch, 'tools/test.py', tmp_path / 'seg.py', last, *end)
    assert 'fused in memory' in ' '.join(tested.stdout.split())
    # The files of a distributed run do not differ from those of any run.
    fused = Config.fromfile(tmp_path / 'work' / 'fused.py')
    assert (fused.launcher, fused.load_from, 'model_wrapper_cfg' in fused) == ('none', None, False)


def test_the_wheel_ships_configs_and_tools_under_mim(tmp_path):
    source = tmp_path / 'source'
    files = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    for file in files:
        if (ROOT / file).is_file():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_bytes((ROOT / file).read_bytes())
    options = ['--no-deps', '--no-build-isolation', '--quiet', '--wheel-dir', str(tmp_path)]
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, str(source)], check=True, env=dict(os.environ))
    (wheel,) = tmp_path.glob('refconv_mm-*.whl')
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    for file in files:
        if file.startswith(('configs/', 'tools/')):
            assert f'refconv_mm/.mim/{file}' in names
    assert {'refconv_mm/.mim/model-index.yml', 'refconv_mm/py.typed', 'refconv_mm/hooks/refconv_hook.py'} <= names
    assert not any(name.startswith(('tests', 'configs')) for name in names)
    (entry_points,) = (name for name in names if name.endswith('.dist-info/entry_points.txt'))
    assert 'refconv = refconv_mm.commands:main' in archive.read(entry_points).decode()
    assert 'refconv_mm/commands/train.py' in names
