"""How alike the channels of each layer are, before and after: KL divergence, cosine, effective rank.

redundancy plain.pth control.pth fused.pth --names before,control,refocused --out-dir work_dirs/inside
-> redundancy.md, redundancy.json, redundancy.png (over depth), redundancy_heat-*.png (channels against channels)

Trainings of one net are compared layer by layer. With --unmatched any nets stand side by side (one with SE or CBAM, a
ResNet beside a MobileNet): means over each net's own layers, a figure over relative depth, layers compared where names
and shapes are the same. Of a re-parameterised net (RepVGG) give the weights that it is deployed with: the branches of
its training form are not the kernels that it computes with.
"""

from dataclasses import dataclass

from ..common.options import Analysis, option

PAIRWISE = ('kl_softmax', 'kl_unit', 'kl_magnitude', 'cosine')


@dataclass(frozen=True)
class RedundancyOptions:
    """How much is measured; samples are the same in every checkpoint."""

    max_channels: int = option(1024, 'most channels of a layer, a seeded sample')
    seed: int = option(0, 'of the samples')
    heat: str = option('kl_magnitude', 'heat maps of', PAIRWISE)
    unmatched: bool = option(False, 'take nets whose layers differ')
    heat_channels: int = option(64, 'most channels in a heat map, a sample of those')

    def __post_init__(self) -> None:
        if self.heat not in PAIRWISE:
            raise ValueError(f'--heat must be one of {PAIRWISE}, got {self.heat!r}')
        if min(self.max_channels, self.heat_channels) < 2:
            raise ValueError(
                f'at least two channels make a pair: --max-channels {self.max_channels}, '
                f'--heat-channels {self.heat_channels}'
            )


ANALYSIS = Analysis(
    name='redundancy',
    title='Redundancy of channels',
    text=__doc__,
    source='kernels',
    options=RedundancyOptions,
    captions=dict(
        redundancy='How alike the channels of each layer are, over depth, by five measures',
        redundancy_heat='Channels against channels, layer by layer',
    ),
)
