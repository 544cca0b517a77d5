"""The page of a run: its numbers are those of results.json, and it needs nothing else."""

import hashlib
import html.parser
import json
import re
import subprocess
import sys

import pytest

from configs import hub_function
from l2o.errors import InputError
from reports import results, workdir
from reports.figures import of_run
from reports.page import make, pipeline, verdict
from reports.page.blocks import Code, Document, Link, Row, Table, Text, columns, section
from reports.page.render import render
from tests.reports import made_run
from trainers.harness import folder as named

EVIL = '<script>alert("x")</script>'
LARGEST = 500_000  # bytes


class Page(html.parser.HTMLParser):
  """The text of cells, of the heading, the verdict and the status, and what the page refers to."""

  def __init__(self, text):
    super().__init__()
    self.rows, self.refers, self.tags, self.open = [], [], [], None
    self.texts = {'h1': '', 'verdict': '', 'status': ''}
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    self.tags.append(tag)
    self.refers += [attrs[name] for name in ('src', 'href') if attrs.get(name)]
    if tag == 'tr':
      self.rows.append([])
    elif tag in ('td', 'th'):
      self.rows[-1].append('')
    self.open = {'h1': 'h1', 'p': attrs.get('class')}.get(tag, tag)

  def handle_data(self, data):
    if self.open in self.texts:
      self.texts[self.open] += data.strip('\n')
    elif self.open in ('td', 'button', 'a') and self.rows and self.rows[-1]:
      self.rows[-1][-1] += data.strip('\n')


@pytest.fixture(scope='module')
def large(tmp_path_factory):
  return made_run.pipeline(tmp_path_factory.mktemp('pages') / 'large')


@pytest.fixture(scope='module')
def page(large):
  return make(large)


def test_the_table_has_the_rows_of_the_results(large, page):
  rows = json.loads((large / 'results.json').read_text())
  cells = [cells for cells in Page(page).rows if cells[0] in ('A', 'B') and len(cells) == 8]
  shown = {tuple(row[:3]): row for row in cells}
  for row in rows:
    cells = shown[row['experiment'], row['optimizer'], str(row['num_steps'])]
    assert cells[3] == f'{100 * row["accuracy_mean"]:.1f}'
    assert cells[4] == f'{100 * row["accuracy_std"]:.1f}'
    if row['best_hand_designed']:
      assert 'best hand-designed' in cells[7]
    else:
      ends = [f'{100 * row[f"difference_{part}"]:+.1f}' for part in ('mean', 'low', 'high')]
      assert cells[5] == '{} [{}, {}]'.format(*ends)
    assert ('setting ' + row['tuned'] in cells[7]) if 'tuned' in row else row['family'] in cells
  assert len(shown) == len(rows)


def test_of_large_grids_the_best_setting_of_each_family_is_shown(large):
  rows = json.loads((large / 'results.json').read_text())
  worse = [
    {
      **row,
      'optimizer': f'{row["family"]} worse',
      'accuracy_mean': 0.0,
      'best_hand_designed': False,
    }
    for row in rows
    if row['hand_designed']
  ]
  table = pipeline.of_rows(results.frame(worse + rows))
  shown = {tuple(row.cells[:3]) for row in table.rows}
  assert shown == {(row['experiment'], row['optimizer'], str(row['num_steps'])) for row in rows}
  assert f'results.json has all {len(rows + worse)} rows' in table.note


def test_rows_of_an_older_run_get_the_intervals_of_its_records(large, tmp_path):
  rows = json.loads((large / 'results.json').read_text())
  older = [{k: v for k, v in r.items() if k not in ('accuracy_low', 'accuracy_high')} for r in rows]
  run = workdir.load(large)._replace(results=older)
  assert of_run.rows_of(run) == rows
  assert of_run.rows_of(run._replace(path=tmp_path)) == older  # from before there were records


def test_question_and_verdict_are_derived_from_config_and_results(large, page):
  texts = Page(page).texts
  assert 'l3rs, meta-trained for 180 generations on 10-way tasks of cifar100' in texts['h1']
  rivals = len(made_run.l3rs_resnet20.baselines())
  assert f'the best of {rivals} hand-designed optimizers tuned on 10 other tasks' in texts['h1']
  assert 'on classes it never saw (A: cifar100, B: tiny_imagenet)?' in texts['h1']
  row = next(
    r
    for r in json.loads((large / 'results.json').read_text())
    if (r['experiment'], r['num_steps']) == ('A', 250) and not r['hand_designed']
  )
  low, high = (100 * row[f'difference_{end}'] for end in ('low', 'high'))
  assert texts['verdict'].startswith('In part: l3rs-resnet20-seed0 is above the best hand-designed')
  assert (
    f'is {100 * row["difference_mean"]:+.1f} [{low:+.1f}, {high:+.1f}] points' in texts['verdict']
  )
  assert texts['status'] == ''


@pytest.mark.parametrize(
  ('shift', 'answer'), [(0.2, 'Yes'), (-0.5, 'No'), (None, 'Undecided')], ids=str
)
def test_the_verdict_follows_the_intervals(shift, answer):
  _, rows = made_run.large_rows()
  for row in rows:
    for end in ('mean', 'low', 'high') if not row['hand_designed'] else ():
      value = {'mean': 0.01, 'low': -0.1, 'high': 0.1}[end]
      row[f'difference_{end}'] = value if shift is None else row[f'difference_{end}'] + shift
  assert verdict.of_rows(results.frame(rows)).startswith(f'{answer}: ')


def test_classes_that_were_seen_are_not_called_unseen(large):
  rows = json.loads((large / 'results.json').read_text())
  seen = [{**row, 'seen_classes': 3} for row in rows]
  run = workdir.load(large)
  assert 'never saw' in verdict.question(run)
  assert 'never saw' not in verdict.question(run._replace(results=seen))
  file = {**run.config, 'rule': {'name': 'artifact', 'path': 'x/mine.safetensors'}}
  asked = verdict.question(run._replace(config=file))
  assert 'never saw' not in asked
  assert 'the optimizer mine, further meta-trained' in asked


def test_a_large_page_stays_small_and_needs_no_other_file(page):
  assert len(page.encode()) < LARGEST
  found = Page(page)
  assert found.refers
  assert all(re.match(r'#|data:image/png;base64,', at) for at in found.refers)
  assert not re.search(r'@import|url\((?!#)', page)
  assert not {'link', 'iframe', 'object', 'img'} & set(found.tags)


def test_a_page_has_the_same_bytes_with_results_in_hand(large, page):
  assert make(large, json.loads((large / 'results.json').read_text())) == page


def test_what_is_known_of_the_run_is_on_the_page(large, page):
  for text in ('812.5', '1 NVIDIA H100', 'abc123', 'seed: 0 -&gt; 1', 'jax 0.10.2'):
    assert text in page
  assert 'large/optimizer.safetensors' in page
  assert hashlib.sha256((large / 'optimizer.safetensors').read_bytes()).hexdigest() in page


def test_everything_from_a_run_is_escaped(tmp_path):
  run = made_run.job(tmp_path / 'run', rule={'name': EVIL})
  (run / 'diff.txt').write_text(EVIL)
  text = make(run)
  assert EVIL not in text
  assert text.count('<script') == len(re.findall(r'<script type="application/json">', text)) + 1
  assert EVIL in Page(text).texts['h1']  # as text


def test_every_block_escapes_its_text():
  table = Table(columns(EVIL, filters=[EVIL]), [Row([EVIL]), Row([Link(EVIL, f'"{EVIL}')])], EVIL)
  parts = section(EVIL, table, Code(EVIL), Code(EVIL, EVIL), Text([EVIL]))
  text = render(Document(EVIL, EVIL, EVIL, EVIL, [table], parts))
  assert EVIL not in text
  assert '""' not in text.replace('=""', '')


def test_an_unfinished_run_says_so_first_and_where_it_is(tmp_path):
  run = made_run.begun(tmp_path / 'run', made_run.l3rs_resnet20.get_config())
  made_run.log(run / 'meta_train', made_run.generations(37))
  found = Page(make(run))
  assert found.texts['status'] == 'Unfinished: meta_train, generation 37 of 180.'
  assert found.texts['verdict'] == 'No verdict yet.'
  assert 'svg' in found.tags  # of meta-training so far
  made_run.log(run / 'meta_train', made_run.generations(180))
  measured = [{'step': 1, 'accuracy': 0.125, 'loss': 1.5}, {'step': 6, 'accuracy': 0.25, 'loss': 2}]
  made_run.log(run / 'meta_evaluate', measured)
  found = Page(make(run))
  cells = (len(made_run.l3rs_resnet20.baselines()) + 1) * 2 * 5  # experiments, horizons
  assert found.texts['status'] == f'Unfinished: meta_evaluate, row 6 of {cells}.'
  assert ['A', 'the learned one', '10', '12.5', '1.5'] in found.rows
  first = sorted(json.loads((run / 'config.json').read_text())['meta_evaluate']['baselines'])[0]
  assert ['A', first, '10', '25.0', '2'] in found.rows


def test_a_training_job_has_its_losses(tmp_path):
  found = Page(make(made_run.job(tmp_path / 'run')))
  assert found.texts['h1'] == 'How low does adam bring the loss of the task function in 3 steps?'
  assert found.texts['verdict'].startswith('Its lowest evaluation loss is 1.75, at step 2 of 3')
  assert ['after the last step', 'loss', '2.75'] in found.rows
  half = made_run.job(tmp_path / 'half', losses=(4.0, 1.5), ended=False)
  found = Page(make(half))
  assert found.texts['status'] == 'Unfinished: train, step 2 of 3.'
  assert ['loss', '2', '1.5'] in found.rows


def test_a_sweep_compares_its_rows_and_links_to_their_pages(tmp_path):
  c = hub_function.get_config('smoke')
  sweep = made_run.begun(tmp_path / 'sweep', c)
  made_run.job(sweep / 'adam' / 'seed_0')
  learned = made_run.job(
    sweep / 'learned' / 'seed_0', rule={'name': 'artifact', 'path': 'v'}, losses=(4.0, 1.0, 0.5)
  )
  (learned / 'report.html').write_text('page')
  found = Page(make(sweep))
  assert found.texts['status'] == 'Unfinished: 2 of at most 4 runs have ended.'
  lowest = 'So far: learned (0.75, one seed) has the lowest evaluation loss, before adam (1.75'
  assert found.texts['verdict'].startswith(lowest)
  assert 'learned/seed_0/report.html' in found.refers
  assert 'adam/seed_0/report.html' not in found.refers
  assert ['adam', '1', '2.75 ± 0', '1.75 ± 0', ''] in found.rows


def command(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'reports.page', *map(str, arguments)], capture_output=True, text=True
  )


def test_the_command_writes_pages_and_refuses_in_one_sentence(tmp_path):
  run = made_run.job(tmp_path / 'run')
  done = command(run)
  assert done.returncode == 0, done.stderr
  assert (run / 'report.html').read_text() == make(run)
  refused = command(tmp_path)
  assert refused.returncode == 1
  assert refused.stderr.startswith(f'error: {tmp_path} holds no run')
  assert refused.stderr.count('\n') == 1


@pytest.mark.parametrize('name', ['config.json', 'results.json', 'versions.json', 'records.csv.gz'])
def test_a_damaged_file_is_named(name, tmp_path):
  run = made_run.job(tmp_path / 'run')
  (run / name).write_bytes(b'{')
  with pytest.raises(InputError, match=re.escape(name)):
    make(run)


def test_files_have_the_names_that_runs_give_them():
  names = [name for name in vars(workdir) if name.isupper()]
  assert len(names) >= 9
  for name in names:
    assert getattr(workdir, name) == getattr(named, name), name
