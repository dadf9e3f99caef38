"""The documentation: links lead somewhere, commands exist with their options."""

import contextlib
import io
import re
import runpy
import sys
from functools import cache, partial
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

ROOT_PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md')]
PAGES = ROOT_PAGES + [page for folder in ('docs', 'configs', 'lab') for page in sorted((ROOT / folder).rglob('*.md'))]
# The changelog also names what is gone.
PRESENT = [page for page in PAGES if page.name != 'CHANGELOG.md']
METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yml'))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S)
    headings = re.findall(r'^#+ (.+)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_local_links_resolve(page):
    broken = []
    for target, anchor in re.findall(r'\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)', page.read_text()):
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f'{target}#{anchor}')
    assert broken == []


@pytest.mark.parametrize('page', PRESENT, ids=name)
def test_files_that_are_named_exist(page):
    if page.name == 'models.md':
        pytest.skip('the sweep quotes errors of other libraries, with their files')
    folders = 'tools|tests|docs|configs|requirements|refconv_mm|lab|demo'
    named = re.findall(rf'(?<![\w./])(?:{folders})/[\w./-]*\w\.(?:py|sh|md|txt|yml)\b', page.read_text())
    assert [path for path in named if not (ROOT / path).is_file()] == []
    tests = {path.name for path in (ROOT / 'tests').rglob('*.py')}
    assert set(re.findall(r'\btest_\w+\.py\b', page.read_text())) <= tests


# -- commands ----------------------------------------------------------------------------------------------


def code(page: Path) -> list[str]:
    """Code of a page, one command each: lines of blocks (continued ones joined, without comments), and spans."""
    text = re.sub(r'\\\n\s*', ' ', page.read_text())
    fenced = re.findall(r'^```\w*\n(.*?)^```', text, re.M | re.S)
    text = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
    indented = re.findall(r'^ {4,}(\S.*)$', text, re.M)
    lines = [line for block in fenced for line in block.splitlines()] + indented
    return [re.split(r'\s#', line)[0].strip() for line in lines] + re.findall(r'`([^`\n]+)`', text)


@cache
def makefile_targets() -> set[str]:
    return set(re.findall(r'^([a-z]+):', (ROOT / 'Makefile').read_text(), re.M))


# `demo` finds its functions in the module `__main__`.
run_module = partial(runpy.run_module, alter_sys=True)


@cache
def options(*command: str) -> set[str]:
    """The options in the help of a command, asked in this process. Its first word is a module or a file in tools/."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(sys, 'argv', [*command, '--help'])
        run, path = (runpy.run_path, str(ROOT / command[0])) if '/' in command[0] else (run_module, command[0])
        with pytest.raises(SystemExit) as end:
            run(path, run_name='__main__')
    return {'--help', *re.findall(r'--[a-z][\w-]*', said.getvalue())} if not end.value.code else set()


WORD = r'(?: ([a-z][a-z-]*)(?![\w./]))?'
INVOCATION = re.compile(
    rf'(?:(?<!\S)(tools/\w+\.py)|^(?:\S*/)?(refconv){WORD}|(?<!\S)-m (lab|demo|refconv_mm){WORD}{WORD})(?=\s|$)(.*)'
)


def invocations(page: Path) -> list[tuple[tuple[str, ...], set[str]]]:
    """The commands on a page, as words to ask for help, each with the options that it is given."""
    found = []
    for line in code(page):
        if match := INVOCATION.search(line):
            *words, rest = match.groups()
            command = ['refconv_mm' if word == 'refconv' else word for word in words if word]
            found.append((tuple(command[: 3 if 'analyse' in command else 2]), given_in(rest)))
    return found


def given_in(words: str) -> set[str]:
    return set(re.findall(r'(?<!\S)--[a-z][\w-]*', words))


@pytest.mark.parametrize('page', PRESENT, ids=name)
def test_make_targets_that_are_named_exist(page):
    named = {match[1] for line in code(page) if (match := re.match(r'make ([a-z]+)', line))}
    assert named <= makefile_targets()


@pytest.mark.parametrize('page', PRESENT, ids=name)
def test_commands_that_are_named_exist_with_their_options(page):
    unknown = []
    for command, given in invocations(page):
        if '/' in command[0] and not (ROOT / command[0]).is_file():
            unknown.append(command[0])
        elif given or len(command) > 1:
            has = options(*command)
            unknown += [' '.join([*command, option]) for option in sorted(given - has)] if has else [' '.join(command)]
    assert unknown == []


def test_the_commands_are_found_in_the_readme():
    """So that the tests above don't pass because nothing is read."""
    commands = invocations(ROOT / 'README.md')
    assert ('refconv_mm', 'train') in [command for command, _ in commands]
    assert any('--init' in given for _, given in commands)
    assert {'make demo', 'make test'} <= set(code(ROOT / 'README.md'))


# -- the model zoo -----------------------------------------------------------------------------------------


def test_the_index_lists_every_metafile():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == [name(path) for path in METAFILES]


@pytest.mark.parametrize('path', METAFILES, ids=name)
def test_a_metafile_lists_its_folder_s_models(path):
    content = yaml.safe_load(path.read_text())
    (collection,) = content['Collections']
    assert (ROOT / collection['README']).is_file()
    assert {model['In Collection'] for model in content['Models']} == {collection['Name']}
    assert {model['Config'] for model in content['Models']} == {name(config) for config in path.parent.glob('*.py')}
    assert not any('Weights' in model for model in content['Models'])
