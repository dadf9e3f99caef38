"""One page of all analyses: its numbers, that it needs nothing else, and how it fits into a real browser."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

from refconv_mm.analysis.common.costs import machine
from refconv_mm.analysis.common.kernels import gather
from refconv_mm.analysis.common.sources import measure_checkpoints
from refconv_mm.analysis.common.task_loss import TaskLoss
from refconv_mm.analysis.curvature import CurvatureOptions
from refconv_mm.analysis.driver import NAMES as ANALYSES
from refconv_mm.analysis.driver import analysis_of, write
from refconv_mm.analysis.landscape import LandscapeOptions
from refconv_mm.analysis.landscape.measure import sum_up
from refconv_mm.analysis.page import blocks_of, read_group, write_page

from ..test_tools import tool  # noqa: F401

NAMES = ('before', 'control', 'refocused')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--dump-dom',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--enable-logging=stderr',
    '--allow-file-access-from-files', '--window-size=1400,1000', '--virtual-time-budget=20000',
]  # fmt: skip


class Net(nn.Module):
    """A classifier with 14 depthwise layers, the first of them in use, and mmengine's interface of losses."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1, groups=6) for _ in range(14))
        self.head = nn.Linear(6, 2)

    def forward(self, inputs, data_samples, mode):
        features = F.softplus(self.backbone[0](inputs)).mean((2, 3))
        return dict(loss=F.cross_entropy(self.head(features), data_samples))

    def parse_losses(self, losses):
        return losses['loss'], losses


def blank(analysis, pages: tuple = ()) -> dict:
    """Figures without content in place of an analysis' own."""
    stems = [stem for stem in analysis.captions if not (pages and stem == 'redundancy_heat')]
    sizes = dict.fromkeys(stems, 10) | {f'redundancy_heat-{page}': 2 for page in pages}
    return {stem: plt.figure(figsize=(width, 1)) for stem, width in sizes.items()}


@pytest.fixture(scope='session')
def made(tmp_path_factory) -> Path:
    """A directory with all six analyses of three checkpoints, their figures left blank; copy it before changing it."""
    pytest.importorskip('curvlinops')
    folder = tmp_path_factory.mktemp('made') / 'tiny'
    paths = [str(folder.parent / f'{name}.pth') for name in NAMES]
    torch.manual_seed(0)
    net = Net()
    for i, path in enumerate(paths):
        torch.save({k: v + 0.02 * i * torch.randn_like(v) for k, v in net.state_dict().items()}, path)
    results = {}
    for name in (each for each in ANALYSES if analysis_of(each).source == 'kernels'):
        analysis = analysis_of(name)
        results[name] = analysis.module('measure').measure(gather(paths)[0], analysis.options())
    options, nets = LandscapeOptions(directions=2, points=5, grid=0), []
    for i, (name, path) in enumerate(zip(NAMES, paths, strict=True), start=1):
        lines = [[0.1 + i * k * t * t for t in options.distances(options.points)] for k in (1, 2)]
        nets.append(dict(name=name, path=path, what='plain', centre=0.1, lines=lines, map=[]))
    batch = dict(inputs=torch.randn(2, 6, 4, 4), data_samples=torch.tensor([0, 1]))
    cfg, task = Config(dict(model=dict(type='Net'))), TaskLoss(net, [batch, batch], what='made data')
    results['landscape'] = sum_up(nets, options, task)
    few = CurvatureOptions(eigenvalues=1, probes=2, lanczos=2, starts=1, ascent=1, params=('head*',))
    results['curvature'] = measure_checkpoints(analysis_of('curvature'), few, cfg, paths, NAMES, task, folder)
    timed = dict(seconds=[0.02, 0.03], ratio=(1.0, 0.99, 1.01))
    row = dict(
        config='net.py', deployed='batch norm folded', trainable=3_504_872, parameters=3_487_816, peak_bytes=2**27,
        multiply_adds=300_774_272, training=timed, inference=timed,
    )  # fmt: skip
    models = [dict(row, name=name) for name in ('plain', 'wide')]
    results['cost'] = dict(models=models, size=[224, 224], batch=8, **machine())
    with pytest.MonkeyPatch.context() as patch:
        for name, found in results.items():
            analysis, pages = analysis_of(name), (10, 9, 1) if name == 'redundancy' else ()
            figures = blank(analysis, pages)
            patch.setattr(analysis.module('figure'), 'draw', lambda results, figures=figures: figures)
            write(analysis, found, folder, f'python tools/analyse.py {name}')
    return folder


@pytest.fixture
def inside(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / 'tiny'))


class Page:
    """The cells of every row, as text, and the attributes of every tag."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        rows = re.findall(r'<tr>(.*?)</tr>', self.text, flags=re.DOTALL)
        self.rows = [[plain(cell) for cell in re.findall(r'<t[dh].*?</t[dh]>', row, flags=re.DOTALL)] for row in rows]

    def of(self, attribute: str) -> list[str]:
        tags = re.findall(r'<[a-z][^>]*>', self.text)
        return [unescape(found[1]) for tag in tags if (found := re.search(rf' {attribute}="(.*?)"', tag))]

    def row(self, label: str) -> list[str]:
        return next(row for row in self.rows if row and row[0].startswith(label))


def plain(html: str) -> str:
    return ' '.join(unescape(re.sub('<.+?>', '', html, flags=re.DOTALL)).split())


def figures_in(row: list[str]) -> list[float]:
    """The numbers before units and errors in the columns of the checkpoints."""
    return [float(cell.split()[0]) for cell in row[1 : 1 + len(NAMES)] if cell]


def test_the_page_has_the_headline_figures(inside, tmp_path):
    page = Page(write_page([inside], tmp_path / 'page.html'))
    results = {name: json.loads((inside / f'{name}.json').read_text()) for name in ANALYSES}
    assert page.row('Checkpoints')[:4] == ['Checkpoints', *NAMES]
    cosines = [results['redundancy']['mean'][name]['cosine'] for name in NAMES]
    assert figures_in(page.row('cosine')) == pytest.approx(cosines, rel=5e-3)
    centre = [100 * results['skeleton']['net']['3x3'][name]['layer']['centre']['share'] for name in NAMES]
    assert figures_in(page.row('centre of 3x3')) == pytest.approx(centre, abs=0.06)
    exponent = [results['theory']['rest'][name]['exponent']['mean'] for name in NAMES[1:]]
    assert page.row('exponent, mean')[1] == ''  # the start has not changed
    assert figures_in(page.row('exponent, mean')) == pytest.approx(exponent, abs=0.006)
    turned = [results['theory']['mean'][name]['turned'] for name in NAMES[1:]]
    assert figures_in(page.row('kernels turned by')) == pytest.approx(turned, rel=5e-3)
    losses = [net['centre'] for net in results['landscape']['checkpoints']]
    assert figures_in(page.row('task loss')) == pytest.approx(losses, rel=1e-3)
    rises = [sum(line[0] for line in net['increase']) / 2 for net in results['landscape']['checkpoints']]
    assert figures_in(page.row('rise of the loss at distance 0.5')) == pytest.approx(rises, rel=0.01)
    traces = [results['curvature']['measured'][name]['hessian']['filter']['trace']['mean'] for name in NAMES]
    assert figures_in(page.row('trace of the Hessian, filter')) == pytest.approx(traces, rel=1e-3)
    assert page.row('trace / that of before')[1] == ''
    assert page.row('Models')[:3] == ['Models', 'plain', 'wide']
    assert page.row('training step / plain')[1] == '1.000'
    assert 'Not in' not in page.text


def test_the_page_needs_nothing_else(inside, tmp_path):
    page = Page(write_page([inside], tmp_path / 'page.html'))
    ids = page.of('id')
    assert len(set(ids)) == len(ids)
    for address in page.of('src') + page.of('href'):
        assert address.startswith('data:') or (address[0] == '#' and address[1:] in ids)
    assert '<script' not in page.text
    assert not re.search(r'url\(|@import', page.text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page.of('content')
    shown = {base64.b64decode(source.partition(',')[2]) for source in page.of('src')}
    assert shown == {path.read_bytes() for path in inside.glob('*.png')}
    assert all(page.of('alt'))
    assert len(page.of('alt')) == len(page.of('src')) == len(list(inside.glob('*.png')))


def test_long_tables_are_folded_and_every_table_scrolls_by_itself(inside, tmp_path):
    page = Page(write_page([inside], tmp_path / 'page.html'))
    folded = re.findall(r'<details><summary><h3>(.+?)</h3> <span class="faint">(\d+) rows', page.text)
    assert ('cosine by layer', '14') in folded
    assert 'Mean over layers' not in dict(folded)
    boxes = re.findall(r'<div class="scroll"[^>]+>\s*<table>.*?</table>\s*</div>', page.text, flags=re.DOTALL)
    assert len(boxes) == page.text.count('<table>') > 20
    captions = [f'Channels against channels, layer by layer ({i})' for i in (1, 9, 10)]
    assert [text for text in map(plain, re.findall('<figcaption>.*', page.text)) if text in captions] == captions


def test_markdown_becomes_blocks():
    text = '# Title\n\n`a_b` and |w| <b>\n\n- one\n\n## Part\n\n| a | b |\n|---|---:|\n| x | 1 |\n'
    blocks = blocks_of(text)
    assert [(block['title'], block['rows']) for block in blocks] == [('', 0), ('Part', 1)]
    assert '<code>a_b</code> and |w| &lt;b&gt;' in blocks[0]['html']
    assert '<td style="text-align: right;">1</td>' in blocks[1]['html']


@pytest.mark.parametrize(
    'name',
    [
        '<script>alert(1)</script>',
        '![x](http://a.b/c.png)',
        '[x](javascript:alert(1))',
        '<http://a.b>',
        '"two" & <more>',
    ],
)
def test_names_come_out_as_text(inside, tmp_path, name):
    for path in [*inside.glob('*.md'), *inside.glob('*.json')]:
        text = path.read_text()
        path.write_text(text.replace('control', json.dumps(name)[1:-1] if path.suffix == '.json' else name))
    page = Page(write_page([inside], tmp_path / 'page.html', title=name))
    assert '<script' not in page.text
    assert all(address.startswith(('#', 'data:')) for address in page.of('href') + page.of('src'))
    assert page.row('Checkpoints')[2] == name
    assert [name in row for row in page.rows if row[0] == name]  # and in the tables of the reports


def test_what_is_missing_is_said(inside, tmp_path):
    for path in (*inside.glob('landscape*'), inside / 'curvature.json', inside / 'skeleton.md', inside / 'cost.png'):
        path.unlink()
    page = Page(write_page([inside], tmp_path / 'page.html'))
    text = plain(page.text)
    assert f'Not in {inside}: landscape (tools/analyse.py).' in text
    assert f'{inside / "curvature.json"} is missing.' in text
    assert f'{inside / "skeleton.md"} is missing.' in text
    assert f'{inside} has no figure of it (cost*.png).' in text
    assert 'Curvature of the task loss' in text
    assert page.row('centre of 3x3')


def test_damaged_files_are_named_and_nothing_is_written(inside, tmp_path, made):
    def refused(name: str, data: bytes, match: str) -> None:
        (inside / name).write_bytes(data)
        with pytest.raises(ValueError, match=f'{re.escape(str(inside / name))} is {match}'):
            write_page([inside], tmp_path / 'page.html')
        shutil.copy(made / name, inside / name)

    text = (inside / 'redundancy.json').read_bytes()
    refused('redundancy.json', text[:-40], r'damaged .*make it again with tools/analyse\.py redundancy --force')
    refused('redundancy.json', b'\xff\xfe', 'damaged')
    for name in ANALYSES:
        refused(f'{name}.json', b'{"checkpoints": []}', f'damaged or not what {name} writes')
        refused(f'{name}.json', b'[]', f'damaged or not what {name} writes')
    refused('cost.png', b'GIF89a', 'damaged or no PNG')
    assert not list(tmp_path.glob('*.html'))
    write_page([inside], tmp_path / 'page.html')


def test_several_nets_on_one_page(inside, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(inside, other)
    for path in other.glob('theory*'):
        path.unlink()
    changed = json.loads((other / 'skeleton.json').read_text())
    changed['checkpoints'][1]['path'] = 'another.pth'
    (other / 'skeleton.json').write_text(json.dumps(changed))
    page = Page(write_page([inside, other], tmp_path / 'page.html'))
    assert {'#part1', '#part1-theory', '#part2', '#part2-cost'} < set(page.of('href'))
    assert '#part2-theory' not in page.of('href')
    assert page.text.count('is not the same file in all analyses') == 1
    assert read_group(other)['notes'][0] == 'control is not the same file in all analyses.'
    assert '<title>Inside the nets: tiny, other</title>' in page.text
    with pytest.raises(ValueError, match='one is given twice'):
        write_page([inside, inside], tmp_path / 'twice.html')


def test_the_tool(inside, tmp_path, tool):  # noqa: F811
    out = tmp_path / 'page.html'
    assert tool('report', inside, '--out', out, '--title', 'Cells')[0] == 0
    before = out.read_text()
    assert '<h1>Cells</h1>' in before
    code, said = tool('report', inside, '--out', out)
    assert (code, 'exists and is left alone; name another --out or pass --force' in said) == (2, True)
    assert out.read_text() == before
    code, said = tool('report', inside, '--out', out, '--force')
    assert (code, f'wrote {out}' in said) == (0, True)
    (tmp_path / 'empty').mkdir()
    for arguments, match in (
        ([tmp_path / 'none'], 'no directory at'),
        ([tmp_path / 'empty'], 'has nothing of any analysis'),
        ([inside, '--out', tmp_path / 'none' / 'page.html'], 'must be a file in a directory that is there'),
    ):
        code, said = tool('report', '--out', tmp_path / 'new.html', *arguments)
        assert (code, match in said) == (2, True), said
    assert not (tmp_path / 'new.html').exists()


@pytest.mark.skipif(CHROMIUM is None, reason='no Chromium on this machine')
def test_the_page_in_a_browser(inside, tmp_path):
    """At phone and desktop width, as it opens and with all unfolded and enlarged: no sideways scroll, no complaint."""
    names = [json.dumps(f'{"a_very_long_name_of_a_checkpoint" * 3}-{i}')[1:-1] for i in range(3)]
    for path in [*inside.glob('*.md'), *inside.glob('*.json')]:  # names that no screen has room for
        path.write_text(path.read_text().replace('control', names[0]))
    write_page([inside], tmp_path / 'page.html', title='/'.join(names))
    (tmp_path / 'frame.html').write_text("""<!doctype html><body><script>
        const found = [], widths = [390, 1280];
        function look(width) {
            const frame = document.createElement('iframe');
            frame.style = `width: ${width}px; height: 800px; border: 0`;
            frame.onload = () => {
                const page = frame.contentDocument, root = page.documentElement;
                const row = {width: frame.contentWindow.innerWidth, closed: root.scrollWidth};
                row.widest = Math.max(...[...page.images].map(each => each.getBoundingClientRect().width));
                page.querySelectorAll('details').forEach(part => { part.open = true; });
                page.querySelectorAll('.picture input').forEach(box => box.click());
                row.open = root.scrollWidth;
                const pictures = [...page.images];
                row.loaded = pictures.filter(each => each.naturalWidth == each.width).length;
                row.pictures = pictures.length;
                row.font = parseFloat(frame.contentWindow.getComputedStyle(page.body).fontSize);
                found.push(row);
                frame.remove();
                if (widths.length) look(widths.shift());
                else document.body.append(document.createElement('output'));
                document.querySelectorAll('output').forEach(out => { out.textContent = JSON.stringify(found); });
            };
            frame.src = 'page.html';
            document.body.append(frame);
        }
        console.log('listening');
        look(widths.shift());
    </script>""")
    command = [CHROMIUM, *FLAGS, f'--user-data-dir={tmp_path / "profile"}', f'file://{tmp_path}/frame.html']
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    report = re.search(r'<output>(.+?)</output>', done.stdout)
    assert report, done.stderr[-3000:]
    found = json.loads(report.group(1))
    assert [row['width'] for row in found] == [390, 1280]
    for row in found:
        assert row['closed'] <= row['width']
        assert 300 < row['widest'] < row['width']
        assert row['open'] <= row['width']
        assert row['loaded'] == row['pictures'] == len(list(inside.glob('*.png')))
        assert row['font'] >= 16
    said = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert ['listening' in line for line in said] == [True], said
