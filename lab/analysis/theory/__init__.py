"""How well the Gram matrix of the basis predicts what training changed in the kernels; see docs/theory.md.

theory plain.pth control.pth refocused.pth --names before,control,refocused --config CONFIG --out-dir out
theory plain.pth --out-dir out      # the Gram matrices alone: speed, directions, positions
-> theory.md, theory.json, theory_gram.png, theory.png

Without --config every layer larger than 1x1 is taken for depthwise or dense by its shape, and refocused with --map-k.
"""

from dataclasses import dataclass

from refconv_mm.layers import RefConvOptions
from ..common.options import Analysis, option


@dataclass(frozen=True)
class TheoryOptions:
    """How layers are refocused, and how much of them is measured; a dense layer has a group for each slice."""

    map_k: int = option(3, 'map size without --config')
    max_groups: int = option(4096, 'most groups of a layer, a seeded sample')
    seed: int = option(0, 'of the samples')
    config: str | None = None

    def __post_init__(self) -> None:
        RefConvOptions(map_k=self.map_k)
        if self.max_groups < 1:
            raise ValueError(f'--max-groups must be at least 1, got {self.max_groups}')


ANALYSIS = Analysis(
    name='theory',
    title='The Gram matrix of the basis, and what changed',
    text=__doc__,
    source='kernels',
    options=TheoryOptions,
    captions=dict(
        theory='How well the Gram matrix of the basis predicts what changed, over depth and over the net',
        theory_gram='The Gram matrix of the basis: speed, condition, eigenvalues, diagonal',
    ),
)
