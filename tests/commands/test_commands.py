"""The command `refconv`: its help, its exit codes and messages, and its commands, which the tools share."""

import sys

import pytest

import refconv_mm
from refconv_mm import commands
from refconv_mm.layers import RefConv2d
from tests.conftest import ROOT, run


def test_help_and_version(refconv):
    code, said, _ = refconv('--help')
    assert code == 0
    assert all(name in said for name in commands.COMMANDS)
    assert refconv('--version') == (0, f'refconv_mm {refconv_mm.__version__}\n', '')
    assert run('-m', 'refconv_mm', '--version').stdout == f'refconv_mm {refconv_mm.__version__}\n'
    code, _, error = refconv('trian')
    assert (code, "invalid choice: 'trian'" in error) == (2, True)
    assert refconv() == refconv('--help')
    assert refconv('--trust', 'train')[0] == 2


@pytest.mark.parametrize('name', commands.COMMANDS)
def test_every_command_explains_itself_and_a_tool_has_the_same_options(name, refconv, monkeypatch, capsys):
    code, said, _ = refconv(name, '--help')
    assert code == 0
    assert f'usage: refconv {name}' in said
    if name in ('train', 'test', 'fuse'):
        assert f"run_tool('{name}', __doc__)" in (ROOT / 'tools' / f'{name}.py').read_text()
        monkeypatch.setattr(sys, 'argv', [f'tools/{name}.py', '--help'])
        with pytest.raises(SystemExit):
            commands.run_tool(name, 'its description')
        of_tool = capsys.readouterr().out
        assert 'its description' in of_tool
        assert of_tool.partition('positional')[2] == said.partition('positional')[2]


# -- the end of a command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('check-data', 'no.py'), 'refconv check-data: error: no config at no.py\n'),
        (('export', 'no.py', 'no.pth', 'x.txt'), 'refconv export: error: x.txt does not end with .onnx'),
        (('fuse', 'c.py', 'no.pth'), 'refconv fuse: error: no checkpoint at no.pth'),
        (('test', 'c.py', 'no.pth', '--out', 'c.py'), 'refconv test: error: c.py exists and is left alone'),
        (
            ('fuse', 'c.py', 'x', '--cfg-options', 'model.x=1'),
            "refconv fuse: error: --cfg-options: {'model.x': 1} cannot",
        ),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(words, message, refconv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'c.py').write_text('model = [1]')
    code, _, error = refconv(*words)
    assert code == 2
    assert error.startswith(message)
    assert 'Traceback' not in error
    assert 'usage' not in error


class Command:
    """A command that ends with an error."""

    def __init__(self, end):
        self.end = end

    def run(self, args):
        return self.end()

    def interrupted(self, args):
        return 'interrupted; the same command goes on'


def stop():
    raise KeyboardInterrupt


def stop_in_torchscript():
    raise RuntimeError(
        'the operation failed in the TorchScript interpreter.\nRuntimeError: KeyboardInterrupt: <EMPTY MESSAGE>'
    )


def fault_of_others():
    raise ValueError('not raised in the package')


def fault_of_ours():
    RefConv2d.to_conv2d(None)  # AttributeError


def no_space():
    raise OSError(28, 'No space left on device', '/disk/x.pth')


def refused():
    refconv_mm.RefConvOptions(map_k=2)


def refused_on_the_way():
    """As upstream code that wraps our errors in its own."""
    try:
        refconv_mm.RefConvOptions.of(dict(no_such=1))
    except TypeError as error:
        raise TypeError(f'class Net: {error}') from error


@pytest.mark.parametrize(
    ('end', 'code', 'message'),
    [
        (lambda: None, 0, ''),
        (lambda: 1, 1, ''),
        (stop, 130, 'prog: interrupted; the same command goes on\n'),
        (stop_in_torchscript, 130, 'prog: interrupted; the same command goes on\n'),
        (no_space, 2, 'prog: error: /disk/x.pth: No space left on device\n'),
        (refused, 2, 'prog: error: map_k must be'),
        (refused_on_the_way, 2, "prog: error: class Net: RefConv has no option 'no_such'"),
    ],
)
def test_the_exit_code_says_how_a_command_ended(end, code, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.run_and_exit(Command(end), None, 'prog')
    assert stopped.value.code == code
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count('\n') == bool(message)


@pytest.mark.parametrize(('end', 'kind'), [(fault_of_others, ValueError), (fault_of_ours, AttributeError)])
def test_faults_of_the_code_keep_their_traceback(end, kind):
    with pytest.raises(kind):
        commands.run_and_exit(Command(end), None, 'prog')
