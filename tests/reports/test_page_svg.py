"""A figure inside a page: where its points are, and whose colours and names it has."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from reports.figures import style
from reports.page import svg


def drawn(legend):
  with style.context(legend):
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.plot([1, 2, 5], [0.1, np.nan, 0.7], 'o', color=style.LEARNED, label='mine')
    axes.plot([1, 5], [0.2, 0.3], color=style.INK, label='_unnamed')
    axes.set(xlabel='step', ylabel='accuracy', ylim=(0, 1))
    axes.yaxis.set_major_formatter(style.percent())
  return figure


@pytest.mark.parametrize('legend', [True, False], ids=['arranged', 'as it is'])
def test_points_lie_on_their_marks_and_say_their_values(legend):
  found = svg.inline(drawn(legend), 'f7', most=100)
  ((name, of_x, of_y, points),) = found.series
  assert (name, of_x, of_y) == ('mine', 'step', 'accuracy')
  assert [point[2:] for point in points] == [
    ['1', '10%'],
    ['5', '70%'],
  ]  # not the one without value
  marks = re.findall(
    r'<use href="#f7-m\w+" x="([\d.]+)" y="([\d.]+)" style="fill: #d55e00', found.element
  )
  assert len(marks) == 2
  np.testing.assert_allclose([point[:2] for point in points], np.array(marks, float), atol=0.11)


def test_names_are_the_figures_own_and_colours_those_of_the_page():
  first, second = (svg.inline(drawn(True), prefix, most=100).element for prefix in ('f1', 'f2'))
  ids = [set(re.findall(r' id="([^"]+)"', element)) for element in (first, second)]
  assert all(ids)
  assert not ids[0] & ids[1]
  for element, own in zip((first, second), ids, strict=True):
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', element)) == own
  assert 'currentColor' in first
  assert style.INK.lower() not in first


def test_of_many_points_some_say_their_values():
  figure = Figure()
  figure.subplots().plot(np.arange(1000), np.arange(1000) ** 0.5, label='long')
  ((_, _, _, points),) = svg.inline(figure, 'f1', most=50).series
  assert len(points) == 50
  assert [points[0][2], points[-1][2]] == ['0', '999']
