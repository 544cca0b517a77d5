"""The page in a browser: tables sort and filter, figures show values, nothing is complained of."""

import json
import re
import shutil
import subprocess

import pytest

from reports.page import make
from reports.page.blocks import Document, Row, Table, columns
from reports.page.render import render
from tests.reports import made_run

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(not BROWSER, reason='no Chromium or Chrome is installed')
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
document.title = JSON.stringify((() => { SCRIPT })());
</script>
</body>
"""


def run(page, script, tmp_path):
  """What the script returns, and what the browser complained of."""
  (tmp_path / 'page.html').write_text(page.replace('</body>', TEST.replace('SCRIPT', script)))
  flags = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--dump-dom']
  folder = f'--user-data-dir={tmp_path / "profile"}'
  done = subprocess.run(
    [BROWSER, *flags, folder, (tmp_path / 'page.html').as_uri()],
    capture_output=True, text=True, timeout=120,
  )  # fmt: skip
  title = re.search('<title>(.*?)</title>', done.stdout, re.S)
  assert title, done.stderr
  said = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
  return json.loads(title[1].replace('&gt;', '>').replace('&lt;', '<').replace('&amp;', '&')), said


def test_rows_are_filtered_and_sorted_and_points_show_their_values(tmp_path):
  page = make(made_run.pipeline(tmp_path / 'run', num_layers=3, num_steps=4))
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
  found, said = run(page, script, tmp_path)
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
