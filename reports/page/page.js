'use strict';
// Sorting and filtering of tables.
for (const table of document.querySelectorAll('.table table')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], rows = [...body.rows];
  const filters = table.closest('figure').querySelector('.filters');
  const text = (row, column) => row.cells[column].textContent;
  const number = (row, column) => parseFloat(text(row, column));
  const chosen = new Map();
  const count = document.createElement('span');
  const filter = () => {
    for (const row of rows) {
      row.hidden = [...chosen].some(([column, value]) => value && text(row, column) !== value);
    }
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  const sort = (head, column) => {
    const numeric = head.classList.contains('n'), before = head.getAttribute('aria-sort');
    const up = before ? before === 'descending' : !numeric;
    for (const other of heads) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const compare = (a, b) => {
      if (!numeric) return text(a, column).localeCompare(text(b, column));
      const [x, y] = [number(a, column), number(b, column)];
      if (isNaN(x) || isNaN(y)) return (isNaN(x) - isNaN(y)) * (up ? 1 : -1);  // always last
      return x - y;
    };
    body.append(...rows.sort((a, b) => (up ? compare(a, b) : compare(b, a))));
  };
  heads.forEach((head, column) => {
    head.firstChild.addEventListener('click', () => sort(head, column));
    if (head.classList.contains('n')) for (const row of rows) row.cells[column].classList.add('n');
    const values = [...new Set(rows.map((row) => text(row, column)))];
    if (!('filter' in head.dataset) || values.length < 2) return;
    const label = document.createElement('label'), select = document.createElement('select');
    select.add(new Option('all', ''));
    for (const value of values) if (value) select.add(new Option(value, value));
    select.addEventListener('change', () => { chosen.set(column, select.value); filter(); });
    label.append(`${head.textContent} `, select);
    filters.append(label);
  });
  if (filters.childElementCount) { filters.append(count); filter(); }
}
// The values of the point nearest to the pointer.
const tip = document.getElementById('tip'), REACH = 24;
for (const figure of document.querySelectorAll('svg')) {
  const points = JSON.parse(figure.nextElementSibling.textContent).flatMap(([name, ofX, ofY, values]) =>
    values.map(([x, y, valueX, valueY]) => (
      { x, y, said: `${name ? `${name}: ` : ''}${ofX} ${valueX}, ${ofY} ${valueY}` })));
  const ring = figure.appendChild(document.createElementNS(figure.namespaceURI, 'circle'));
  ring.setAttribute('r', 0);
  const show = (point, event) => {
    tip.hidden = !point;
    ring.setAttribute('r', point ? 4 : 0);
    if (!point) return;
    ring.setAttribute('cx', point.x);
    ring.setAttribute('cy', point.y);
    tip.textContent = point.said;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4)}px`;
  };
  figure.addEventListener('pointermove', (event) => {
    const matrix = figure.getScreenCTM();
    const x = (event.clientX - matrix.e) / matrix.a, y = (event.clientY - matrix.f) / matrix.d;
    let best = null, least = (REACH / matrix.a) ** 2;
    for (const point of points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    show(best, event);
  });
  figure.addEventListener('pointerleave', () => show(null));
}
