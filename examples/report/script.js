'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const tip = document.getElementById('tip');

// Titles show after a while and not on phones; their text moves to the tip.
for (const title of document.querySelectorAll('svg title')) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}

const number = (x) => (x === null ? '–' : Number(x).toPrecision(4));
const orders = new Map();
const order = (layer) => {
  if (!orders.has(layer)) {
    const ids = layer.scores.map((_, e) => e);
    ids.sort((a, b) => layer.scores[b] - layer.scores[a] || a - b);
    orders.set(layer, ids);
  }
  return orders.get(layer);
};
const describe = (layer, expert) => {
  if (layer === undefined || layer.scores[expert] === undefined) return '';
  const error = layer.errors[expert] > 0 ? ' ± ' + number(layer.errors[expert]) : '';
  const lines = [layer.name + ', expert ' + expert + (data.cut ? (layer.kept[expert] ? ' (kept)' : ' (dropped)') : ''),
    'score ' + number(layer.scores[expert]) + error,
    'rank ' + (order(layer).indexOf(expert) + 1) + ' of ' + layer.scores.length,
    layer.tokens[expert].toLocaleString('en') + ' tokens'];
  return lines.join('\n');
};

// Where the pointer is, in the drawing's own units.
const inside = (svg, event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
const numbers = (text) => text.split(' ').map(Number);
const readers = {
  heat(svg, at) {
    const [x, y, w, h] = numbers(svg.dataset.grid);
    return describe(data.layers[Math.floor((at.y - y) / h)], Math.floor((at.x - x) / w));
  },
  curve(svg, at) {
    const layer = data.layers[svg.dataset.layer];
    const [from, to] = numbers(svg.dataset.x);
    const rank = Math.floor((at.x - from) / (to - from) * layer.scores.length);
    return describe(layer, order(layer)[rank]);
  },
  doubt(svg, at) {
    const [left, right, top, h] = numbers(svg.dataset.grid);
    const layer = data.layers[Math.floor((at.y - top) / h)];
    if (layer === undefined || layer.cut === null) return '';
    const away = ((at.x - left) / (right - left) * 2 - 1) * svg.dataset.reach;
    let best = -1, distance = svg.dataset.reach / 25;
    layer.scores.forEach((score, e) => {
      const d = Math.abs(score / layer.cut - 1 - away);
      if (distance > d) [best, distance] = [e, d];
    });
    return describe(layer, best);
  },
};

const show = (event) => {
  let text = '';
  if (event.target instanceof Element) {
    const marked = event.target.closest('[data-tip]');
    const chart = event.target.closest('svg[data-chart]');
    if (marked) text = marked.dataset.tip;
    else if (chart) text = readers[chart.dataset.chart](chart, inside(chart, event));
  }
  tip.textContent = text;
  tip.style.display = text ? 'block' : 'none';
  if (!text) return;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 4)) + 'px';
  tip.style.top = (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18) + 'px';
};
addEventListener('pointermove', show);
addEventListener('pointerdown', show);
addEventListener('scroll', () => { tip.style.display = 'none'; }, {passive: true});

const key = (row, column) => {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? cell.textContent;
  return text === 'null' || text === '' || isNaN(text) ? text : Number(text);
};
const compare = (a, b) => (typeof a === 'number') !== (typeof b === 'number') ? (typeof a === 'number' ? -1 : 1)
  : typeof a === 'number' ? a - b : String(a).localeCompare(String(b));
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of heads) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const body = table.tBodies[0];
    const rows = [...body.rows];
    rows.sort((a, b) => compare(key(a, column), key(b, column)) * (down ? -1 : 1));
    body.append(...rows);
  }));
}
