"""The page of the sweep, docs/models.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..versions import installed
from .families import LIBRARIES

_HEAD = """# Models

What `refocus`, `fuse` and `conv_cfg` do to the models of {libraries}. `{command}` wrote this page; every model that it
checked is on it. A family is a folder of configs (OpenMMLab) or a module of models (timm, torchvision), with one model
of random weights for each.

A model is *right* if all of this holds: the refocused model computes at its start what the plain one does; a step of SGD
gives every update a finite gradient; the state goes through a file into another refocused model; the fused model
has the keys and the classes of the plain one; its state goes through a file into a new plain model, strictly; that
model computes what the refocused one does, with an update in every layer (to {layer:.0e} of the largest output
of a layer and {model:.0e} end to end).

| library | families | right | nothing to refocus | not built or run | wrong |
|---|---|---|---|---|---|
{summary}

Columns: *refocused* of all convolutions, pointwise ones included. *conv_cfg*: how many of the backbone's KxK
convolutions `conv_cfg=dict(type='RefConv')` reaches; *not taken* if the backbone has no such argument, and `RefocusedBackbone`
reaches all of them in each case. *ran*: the raw outputs (forward) or those
of a part that needs no annotations, and the input. *differences*: at the start and after fusing, the larger of
the worst layer's and the model's. *no gradient*: updates with a gradient of zero, as before a batch norm that starts at zero.
"""


def as_page(results: Sequence[dict[str, Any]], command: str, layer: float, model: float) -> str:
    """The page as Markdown.

    Args:
        results: of :func:`refconv_mm.sweep.runner.run_sweep`.
        command: that wrote them.
        layer, model: the tolerances.
    """
    used = [name for name in LIBRARIES if any(r['library'] == name for r in results)]
    names = ', '.join(f'{n} {installed({"mmseg": "mmsegmentation"}.get(n, n))}' for n in used)
    of = {name: [r for r in results if r['library'] == name] for name in used}
    summary = '\n'.join(_summary(name, of[name]) for name in used)
    head = _HEAD.format(libraries=names, command=command, layer=layer, model=model, summary=summary)
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
    left = '; '.join(f'{n} x {reason}' for reason, n in r['left'].items())
    left += ' (only patch embeddings are refocused)' if r['note'] else ''
    differences = f'{r["start"]:.0e}, {r["fused"]:.0e}' if 'start' in r else ''
    refocused = f'{r["refocused"]} of {r["found"]}'
    ran = [r['ran'], differences, r.get('still', ''), r['result']]
    return _row([r['family'], f'`{r["model"]}`', refocused, left, r.get('conv_cfg', ''), *ran])


def _row(cells: Sequence[Any]) -> str:
    return '| ' + ' | '.join(str(cell).replace('|', '\\|').replace('<', '&lt;') for cell in cells) + ' |'
