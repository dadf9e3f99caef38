"""Runners that test an exported ONNX model, and the choice between it and a checkpoint."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from .config import is_refocused_config, plain_config
from .onnx_model import OnnxModel, run_on
from .runners import runner_for_checkpoint, runner_without_weights
from .surgery import bare


def runner_for_test(
    cfg: Config, path: str, ema: bool | None = None, trust: bool = False, quiet: bool = False
) -> tuple[Runner, str]:
    """A runner that tests a checkpoint, or an ONNX model (`.onnx`) that was exported from one.

    Args and returns are those of :func:`refconv_mm.runners.runner_for_checkpoint`.

    Raises:
        FileNotFoundError, CheckpointError, FuseError, ExportError: the file does not exist, does not belong to the
            config's model, or cannot be tested.
        ValueError: `ema` with an ONNX model.
    """
    if Path(path).suffix != '.onnx':
        return runner_for_checkpoint(cfg, path, ema, trust, quiet)
    if ema is not None:
        raise ValueError('--ema, --no-ema: an ONNX model holds the weights that were chosen when it was exported')
    onnx = OnnxModel.read(path)
    runner = runner_without_weights(plain_config(cfg) if is_refocused_config(cfg) else cfg, quiet)
    run_on(bare(runner.model), onnx)
    what = f'an ONNX model under onnxruntime ({onnx.provider}), of {onnx.record["note"]}'
    print_log(f'testing {what}', logger='current')
    return runner, what
