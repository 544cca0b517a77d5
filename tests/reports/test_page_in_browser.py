"""Pages in a browser: tables sort and filter, figures show values, nothing is cut off."""

import html
import json
import re
import shutil
import subprocess

import pytest

from reports import compare
from reports.page import make
from reports.page.blocks import Document, Row, Table, columns
from reports.page.render import render
from tests.reports import made_run

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(not BROWSER, reason='no Chromium or Chrome is installed')
WIDTHS = (1280, 400)
SCHEMES = {'dark': 0, 'light': 1}  # Chromium's numbers
# Runs in a copy of the page: what it returns becomes the title.
TEST = """
<script>
const shown = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden)
  .map((row) => [...row.cells].map((cell) => cell.textContent));
const choose = (select, value) => {
  select.value = value;
  select.dispatchEvent(new Event('change'));
};
const click = (table, name) =>
  [...table.querySelectorAll('th button')].find((button) => button.textContent === name).click();
addEventListener('load', () => { document.title = JSON.stringify((() => { SCRIPT })()); });
</script>
</body>
"""


def run(page, script, tmp_path, *options):
  """What the script returns, and what the browser complained of."""
  (tmp_path / 'page.html').write_text(page.replace('</body>', TEST.replace('SCRIPT', script)))
  flags = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--dump-dom']
  folder = f'--user-data-dir={tmp_path / "profile"}'
  done = subprocess.run(
    [BROWSER, *flags, *options, folder, (tmp_path / 'page.html').as_uri()],
    capture_output=True, text=True, timeout=120,
  )  # fmt: skip
  title = re.search('<title>(.*?)</title>', done.stdout, re.S)
  assert title, done.stderr
  said = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
  return json.loads(title[1].replace('&gt;', '>').replace('&lt;', '<').replace('&amp;', '&')), said


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
  """A page of each kind, with long names."""
  root = tmp_path_factory.mktemp('pages')
  pipeline = made_run.pipeline(root / 'pipeline', num_layers=3, num_steps=4)
  sweep = made_run.begun(root / 'sweep', made_run.hub_function.get_config('smoke'))
  adam = {'name': 'hand_designed', 'optimizer': 'adam', 'learning_rate': 0.5}
  job = made_run.job(sweep / 'adam' / 'seed_0')
  made_run.job(sweep / 'learned' / 'seed_0', rule=adam, losses=(4.0, 1.0, 0.5))
  found = compare.gather([sweep, job, pipeline])
  return {
    'pipeline': make(pipeline),
    'job': make(job),
    'sweep': make(sweep),
    'comparison': render(compare.document(found)),
  }


def test_rows_are_filtered_and_sorted_and_points_show_their_values(pages, tmp_path):
  script = """
    const table = document.querySelector('.table table');
    const [experiment, , K] = table.closest('figure').querySelectorAll('select');
    choose(experiment, 'B');
    choose(K, '50');
    const filtered = shown(table);
    const count = table.closest('figure').querySelector('span').textContent;
    click(table, 'accuracy in %');
    const falling = shown(table);
    click(table, 'accuracy in %');
    const rising = shown(table);
    const figure = document.querySelector('svg');
    const points = JSON.parse(figure.nextElementSibling.textContent);
    const [name, , , [[x, y, steps, accuracy]]] = points.at(-1);
    const at = new DOMPoint(x, y).matrixTransform(figure.getScreenCTM());
    figure.dispatchEvent(new PointerEvent('pointermove', { clientX: at.x, clientY: at.y }));
    return { filtered, count, falling, rising, name, steps, accuracy,
             tip: document.getElementById('tip').textContent };
  """
  found, said = run(pages['pipeline'], script, tmp_path)
  assert said == []
  assert len(found['filtered']) == 43
  assert found['count'] == '43 of 430 rows'
  assert {(row[0], row[2]) for row in found['filtered']} == {('B', '50')}
  values = [float(row[3]) for row in found['falling']]
  assert values == sorted(values, reverse=True)
  assert [float(row[3]) for row in found['rising']] == values[::-1]
  assert found['falling'][0][1] == found['name'] == 'l3rs-resnet20-seed0'
  said = f'l3rs-resnet20-seed0: inner steps K {found["steps"]}, accuracy {found["accuracy"]}'
  assert found['tip'] == said


def test_cells_without_a_number_come_last_in_both_directions(tmp_path):
  rows = [
    Row([name, value]) for name, value in [('a', '-3'), ('b', 'failed'), ('c', '10'), ('d', '9.5')]
  ]
  table = Table(columns('row', 'loss', numeric=['loss']), rows)
  page = render(Document('t', '', 'q', 'v', [table], []))
  script = """
    const table = document.querySelector('table'), order = [];
    for (let i = 0; i < 2; i++) {
      click(table, 'loss');
      order.push(shown(table).map((row) => row[0]).join(''));
    }
    return order;
  """
  found, said = run(page, script, tmp_path)
  assert said == []
  assert found == ['cdab', 'adcb']


@pytest.fixture(scope='module', params=SCHEMES)
def seen(request, pages, tmp_path_factory):
  """How each page looks at each width, in frames of one document, as a start takes seconds."""
  frames = ''.join(
    f'<iframe data-page="{name}" style="width: {width}px; height: 900px; border: 0" '
    f'srcdoc="{html.escape(page)}"></iframe>'
    for name, page in pages.items()
    for width in WIDTHS
  )
  script = """
    return [...document.querySelectorAll('iframe')].map((frame) => {
      const inside = frame.contentWindow, root = inside.document.documentElement;
      const boxes = [...inside.document.querySelectorAll('.table .scroll')];
      return {
        page: frame.dataset.page, width: inside.innerWidth,
        seen: root.clientWidth, content: root.scrollWidth,
        scrolling: boxes.filter((box) => box.scrollWidth > box.clientWidth).length,
        paper: inside.getComputedStyle(inside.document.body).backgroundColor,
        ink: inside.getComputedStyle(inside.document.body).color,
      };
    });
  """
  folder = tmp_path_factory.mktemp('browser')
  scheme = f'--blink-settings=preferredColorScheme={SCHEMES[request.param]}'
  document = f'<!doctype html><body>{frames}</body>'
  found, said = run(document, script, folder, scheme)
  return request.param, found, said


def test_pages_do_not_scroll_sideways_at_any_width(seen, pages):
  _, found, said = seen
  assert said == []
  assert [(one['page'], one['width']) for one in found] == [(p, w) for p in pages for w in WIDTHS]
  assert [one for one in found if one['content'] > one['seen']] == []
  narrow = {one['page']: one['scrolling'] for one in found if one['width'] == min(WIDTHS)}
  assert narrow['pipeline'] > 0  # its tables are wider than the page and scroll by themselves
  assert narrow['comparison'] > 0


def test_pages_are_dark_where_dark_is_preferred(seen):
  scheme, found, _ = seen
  colours = {
    'light': ('rgb(255, 255, 255)', 'rgb(28, 29, 31)'),
    'dark': ('rgb(21, 23, 26)', 'rgb(230, 230, 228)'),
  }
  assert {(one['paper'], one['ink']) for one in found} == {colours[scheme]}
