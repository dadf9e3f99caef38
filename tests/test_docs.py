"""The documentation: links lead somewhere, commands exist with their options, scores are those of lab/results.md."""

import contextlib
import io
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

ROOT_PAGES = [ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md')]
PAGES = [*ROOT_PAGES, *sorted((ROOT / 'docs').rglob('*.md')), *sorted((ROOT / 'configs').glob('*/README.md'))]
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
    folders = 'tools|tests|docs|configs|requirements|refconv_mm'
    named = re.findall(rf'\b(?:{folders})/[\w./-]*\w\.(?:py|sh|md|txt|yml)\b', page.read_text())
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


@cache
def options(*command: str) -> set[str]:
    """The options in the help of `tools/X.py [ANALYSIS]` or `refconv [COMMAND]`, asked in this process."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, 'argv', [*command, '--help'])
        run, what = (runpy.run_module, 'refconv_mm') if command[0] == 'refconv' else (runpy.run_path, ROOT / command[0])
        with pytest.raises(SystemExit) as end:
            run(str(what), run_name='__main__')
    assert not end.value.code, f'{" ".join(command)} --help ended with {end.value.code}'
    return {'--help', *re.findall(r'--[a-z][\w-]*', said.getvalue())}


def given_in(words: str) -> set[str]:
    return set(re.findall(r'(?<!\S)--[a-z][\w-]*', words))


def invocations(page: Path) -> list[tuple[tuple[str, ...], set[str]]]:
    """What a page runs: the command to ask for help, and the options that it is given."""
    found = []
    for line in code(page):
        if match := re.search(r'(?:^|\s)(tools/)?(\w+)\.py(?=\s|$)', line):
            tool, rest = f'tools/{match[2]}.py', line[match.end() :]
            if match[1] or (not match.start() and (ROOT / tool).is_file()):
                analysis = re.match(r' ([a-z]+)\b', rest) if tool == 'tools/analyse.py' else None
                found.append(((tool, *analysis.groups()) if analysis else (tool,), given_in(rest)))
        elif match := re.match(r'(?:\S*/)?(?:refconv|\S+ -m refconv_mm)(?=\s|$)(?: ([a-z-]*[a-z]))?', line):
            command = [word for word in match.groups() if word and not word.startswith('-')]
            found.append((('refconv', *command), given_in(line[match.end() :])))
    return found


@pytest.mark.parametrize('page', PRESENT, ids=name)
def test_make_targets_that_are_named_exist(page):
    named = {match[1] for line in code(page) if (match := re.match(r'make ([a-z]+)', line))}
    assert named <= makefile_targets()


@pytest.mark.parametrize('page', PRESENT, ids=name)
def test_commands_that_are_named_exist_with_their_options(page):
    unknown = []
    for command, given in invocations(page):
        if command[0] != 'refconv' and not (ROOT / command[0]).is_file():
            unknown.append(command[0])
        elif given or len(command) > 1:
            unknown += [f'{" ".join(command)} {option}' for option in sorted(given - options(*command))]
    assert unknown == []


def test_the_commands_are_found_in_the_readme():
    """So that the tests above don't pass because nothing is read."""
    commands = dict(invocations(ROOT / 'README.md'))
    assert commands['tools/train.py',] == {'--init'}
    assert {('tools/fuse.py',), ('refconv', 'train'), ('tools/analyse.py', 'redundancy')} <= set(commands)
    assert {'make demo', 'make test', 'make docs'} <= set(code(ROOT / 'README.md'))


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


@pytest.mark.parametrize('path', METAFILES, ids=name)
def test_its_scores_are_those_of_the_results(path):
    measured = [float(n) for n in re.findall(r'-?\d+(?:\.\d+)?', (ROOT / 'docs' / 'results.md').read_text())]
    for model in yaml.safe_load(path.read_text())['Models']:
        for result in model.get('Results', []):
            for metric, value in result['Metrics'].items():
                assert any(abs(value - number) <= 0.005001 for number in measured), (model['Name'], metric)
        assert 'Weights' not in model


def test_the_tables_of_whole_schedules_are_those_of_the_runs():
    text = (ROOT / 'docs' / 'results.md').read_text().replace('**', '')
    missing = [
        f'{row.task}: {row.arm} {row.numbers()}'
        for row in runpy.run_path(str(ROOT / 'docs' / 'results' / 'whole_schedules.py'))['rows']()
        if row.numbers() not in text
    ]
    assert not missing
