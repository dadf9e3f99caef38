"""Every score that a page or a metafile names is in the CSV files of the runs."""

import csv
import itertools
import math
import re
import runpy
from functools import cache

import pytest
import yaml

from tests.conftest import ROOT

RESULTS = runpy.run_path(str(ROOT / 'lab' / 'results' / 'whole_schedules.py'))
REPORT = ROOT / 'docs' / 'replication.md'
PAGES = {
    page.name: ' '.join(page.read_text().split()) for page in (REPORT, ROOT / 'README.md', ROOT / 'docs' / 'recipes.md')
}  # without line breaks
METAFILES = sorted(ROOT.glob('configs/*/metafile.yml')) + sorted(ROOT.glob('lab/configs/*/metafile.yml'))
PAPER = {0.7, 1.2, 1.26, 1.47}  # gains that the paper reports
UNIT = '(?: (?:top-1|mAP|mIoU))'
NUMBER = r'[+-]\d+\.\d+'


@cache
def measured() -> tuple[frozenset[str], tuple[float, ...]]:
    """Differences of any two arms of a plan as texts with intervals, of scores and losses; and means and deviations."""
    texts, means = set(), []
    for plan in (*RESULTS['WHOLE'], *RESULTS['SHORT']):
        config, runs = RESULTS['read'](plan)
        estimates = [row.score for row in RESULTS['rows'](plan)]  # pooled ones, too
        for task, arms in runs.items():
            metric, scale = f'test/{config.tasks[task].metric}', config.tasks[task].get('scale', 1)
            scores, losses = ({arm: RESULTS['values'](of, *column) for arm, of in arms.items()}
                              for column in ((metric, scale), ('train_loss',)))  # fmt: skip
            for own in map(RESULTS['summary'], scores.values()):
                means += [own.mean, own.sd]
            for of in (scores, losses):
                pairs = (RESULTS['paired'](of[one], of[other]) for one, other in itertools.permutations(of, 2))
                estimates += [pair for pair in pairs if pair]
        texts |= {RESULTS['text'](estimate, digits) for estimate in estimates for digits in (1, 2, 3)}
        means += [estimate.mean for estimate in estimates]
    return frozenset(texts), tuple(mean for mean in means if math.isfinite(mean))


@pytest.mark.parametrize('page', PAGES)
def test_every_interval_is_that_of_two_arms(page):
    found = re.findall(rf'({NUMBER}){UNIT}? \((?:95 % CI )?({NUMBER}) to ({NUMBER})', PAGES[page])
    assert found
    assert [one for one in found if '{} ({} to {})'.format(*one) not in measured()[0]] == []


@pytest.mark.parametrize('page', PAGES)
def test_every_score_is_a_mean_of_runs_or_the_papers(page):
    unknown = []
    for text in re.findall(rf'(?<![\d.])(\d+(?:\.\d+)?){UNIT}', PAGES[page]):
        half = 0.5001 * 10.0 ** -len(text.partition('.')[2])
        if float(text) not in PAPER and not any(abs(abs(mean) - float(text)) <= half for mean in measured()[1]):
            unknown.append(text)
    assert unknown == []


def test_the_headlines_are_the_gains_of_the_controls():
    for net, headline in (('depthwise net', '5 top-1'), ('detector', '2.7 mAP'), ('segmenter', '4.6 mIoU')):
        gain = re.search(rf'\| {net}, \S+ \| control - baseline \| \d+ \| (\S+)', RESULTS['main_table']())[1]
        assert round(float(gain), len(headline.split()[0].partition('.')[2])) == float(headline.split()[0])
        assert headline in PAGES['README.md']
        assert headline in PAGES['recipes.md']


def test_the_table_of_whole_schedules_is_that_of_the_runs():
    assert RESULTS['main_table']() in REPORT.read_text()


@pytest.mark.parametrize('path', METAFILES, ids=lambda path: path.parent.name)
def test_the_scores_of_a_metafile_are_means_of_runs(path):
    with open(ROOT / 'lab' / 'results' / 'demo-runs.csv', newline='') as file:
        known = [float(run['test/score']) for run in csv.DictReader(file)] + list(measured()[1])
    for model in yaml.safe_load(path.read_text())['Models']:
        for result in model.get('Results', []):
            for metric, value in result['Metrics'].items():
                assert any(abs(value - mean) <= 0.005001 for mean in known), (model['Name'], metric)


def test_plain_arms_of_the_detector_came_out_the_same_beside_the_root_form():
    def scores(name):
        with open(ROOT / 'lab' / 'results' / name, newline='') as file:
            return {(run['arm'], run['seed']): run['test/pascal_voc/mAP'] for run in csv.DictReader(file)}

    before, after = scores('cells-whole-runs.csv'), scores('cells-whole-root-runs.csv')
    both = before.keys() & after.keys()
    assert {('baseline', '0'), ('control', '0'), ('speed', '2')} <= both
    assert {run: before[run] for run in both} == {run: after[run] for run in both}
