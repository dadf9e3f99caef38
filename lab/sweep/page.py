"""The page of the sweep, docs/models.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from refconv_mm.checkpoints.verify import LAYER_TOLERANCE, MODEL_TOLERANCE
from refconv_mm.openmmlab.versions import installed
from .families import LIBRARIES

_HEAD = """# Models

What `refocus`, `fuse` and `conv_cfg` do to the models of {libraries}.

`{command}` wrote this page. Every model that it checked is on it. A family is a folder of configs (OpenMMLab) or a
module of models (timm, torchvision). One small model of each is built, with random weights.

A model is *right* if all of this holds:

- At the start, the refocused model computes what the plain one does.
- A step of SGD gives every update a finite gradient. After it, noise is added to every update.
- The refocused state goes through a file into another refocused model.
- The fused model has the keys, their order and the classes of the plain one.
- The fused state goes through a file into a plain model, strictly. That model computes what the refocused one does, to
  {layer:.0e} of the largest output of each layer and {model:.0e} end to end.

| library | families | right | nothing to refocus | not built or run | wrong |
|---|---|---|---|---|---|
{summary}

| column | meaning |
|---|---|
| refocused | Refocused convolutions of all that the model has, pointwise ones included. |
| conv_cfg | How many of the backbone's KxK convolutions `conv_cfg=dict(type='RefConv')` reaches; `RefocusedBackbone` \
reaches all. *not taken*: the backbone has no such argument. *has its own*: the config uses it for another layer. |
| ran | The raw outputs (forward) or those of a part that needs no annotations, and the input. |
| differences | At the start, and after fusing: the larger of the worst layer's and the model's. |
| no gradient | Updates of zero gradient: before a batch norm that starts at zero, or vanished in random weights. |
{missing}"""


def as_page(results: Sequence[dict[str, Any]], missing: Sequence[dict[str, str]], command: str) -> str:
    """The page as Markdown.

    Args:
        results: of :func:`lab.sweep.runner.run_sweep`.
        missing: the models that have no result yet.
        command: that wrote them.
    """
    used = [name for name in LIBRARIES if any(r['library'] == name for r in results)]
    names = ', '.join(f'{n} {installed({"mmseg": "mmsegmentation"}.get(n, n))}' for n in used)
    of = {name: [r for r in results if r['library'] == name] for name in used}
    summary = '\n'.join(_summary(name, of[name]) for name in used)
    rest = ', '.join(f'{model["library"]}/{model["family"]}' for model in missing)
    rest = f'\nNot checked yet: {rest}.\n' if rest else ''
    tolerances = dict(layer=LAYER_TOLERANCE, model=MODEL_TOLERANCE)
    head = _HEAD.format(libraries=names, command=command, summary=summary, missing=rest, **tolerances)
    return '\n'.join([head, *(_section(name, of[name]) for name in used)])


def outcome(result: dict[str, Any]) -> str:
    """The column of the summary that a result counts in."""
    text = result['result']
    if text == 'right':
        return 'right'
    return next((name for name in ('nothing to refocus', 'WRONG') if text.startswith(name)), 'not built or run')


def _summary(name: str, results: Sequence[dict[str, Any]]) -> str:
    counts = Counter(map(outcome, results))
    columns = [counts[key] for key in ('right', 'nothing to refocus', 'not built or run', 'WRONG')]
    return _row([name, len(results), *columns])


def _section(name: str, results: Sequence[dict[str, Any]]) -> str:
    ran = [r for r in results if 'refocused' in r and outcome(r) in ('right', 'WRONG')]
    rest = [r for r in results if r not in ran]
    lines = [f'## {name}', '']
    if ran:
        head = [
            'family',
            'model',
            'refocused',
            'left alone',
            'conv_cfg',
            'ran',
            'differences',
            'no gradient',
            'result',
        ]
        lines += [_row(head), _row(['---'] * len(head)), *map(_checked, ran), '']
    if rest:
        lines += [_row(['family', 'model', 'result']), _row(['---'] * 3)]
        lines += [_row([r['family'], f'`{r["model"]}`', r['result']]) for r in rest]
        lines.append('')
    return '\n'.join(lines)


def _checked(r: dict[str, Any]) -> str:
    notes = ['only patch embeddings are refocused'] if r['note'] else []
    left = '; '.join([f'{n} x {reason}' for reason, n in r['left'].items()] + notes)
    differences = f'{r["start"]:.0e}, {r["fused"]:.0e}' if 'start' in r else ''
    refocused = f'{r["refocused"]} of {r["found"]}'
    ran = [r['ran'], differences, r.get('still', ''), r['result']]
    return _row([r['family'], f'`{r["model"]}`', refocused, left, r.get('conv_cfg', ''), *ran])


def _row(cells: Sequence[Any]) -> str:
    return '| ' + ' | '.join(str(cell).replace('|', '\\|').replace('<', '&lt;') for cell in cells) + ' |'
