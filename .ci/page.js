// Checks the page in the first frame of this one. Nothing may be wider than the window. No text may overlap another, be cut
// off at the edge of its picture, or be too small to read. Each plot must be there, with a title and a description.
// The faults become the text of #verdict, or "ok" if there are none.
'use strict';

const LEAST = 9; // smallest height of text that can be read, in pixels

function look(frame) {
  const page = frame.contentDocument, wrong = [];
  const name = (element) => JSON.stringify(element.textContent.trim().slice(0, 40));
  if (page.documentElement.scrollWidth > frame.clientWidth) {
    wrong.push(`${page.documentElement.scrollWidth} pixels wide, in a window of ${frame.clientWidth}`);
  }
  for (const cell of page.querySelectorAll('th, td, p, h1, h2, h3')) {
    const box = cell.getBoundingClientRect();
    if (cell.scrollWidth > cell.clientWidth + 1 || box.left < 0 || box.right > frame.clientWidth + 1) wrong.push(`${name(cell)} does not fit`);
  }
  for (const table of page.querySelectorAll('table')) {
    if (table.scrollWidth > table.parentElement.clientWidth) wrong.push(`a table of ${table.scrollWidth} pixels in ${table.parentElement.clientWidth}`);
    const { paddingRight } = getComputedStyle(table.parentElement);
    const edge = table.parentElement.getBoundingClientRect().right - parseFloat(paddingRight);
    if (table.getBoundingClientRect().right > edge + 1) wrong.push('a table that leaves its frame');
  }
  const plots = [...page.querySelectorAll('svg')];
  if (plots.length < 12) wrong.push(`${plots.length} plots`);
  for (const plot of plots) {
    const title = plot.querySelector('title')?.textContent ?? '';
    const edge = plot.getBoundingClientRect();
    if (!title || !plot.querySelector('desc')?.textContent) wrong.push('a plot without a title or a description');
    if (![...plot.querySelectorAll('rect')].some((bar) => bar.getBoundingClientRect().width > 1)) wrong.push(`${title}: nothing in it`);
    const texts = [...plot.querySelectorAll('text')].map((text) => ({ text, box: text.getBoundingClientRect() }));
    for (const { text, box } of texts) {
      if (box.left < edge.left - 1 || box.right > edge.right + 1 || box.top < edge.top - 2 || box.bottom > edge.bottom + 2) {
        wrong.push(`${title}: ${name(text)} is cut off`);
      }
      const size = parseFloat(getComputedStyle(text).fontSize) * edge.width / plot.viewBox.baseVal.width;
      if (size < LEAST) wrong.push(`${title}: ${name(text)} is ${size.toFixed(1)} pixels high`);
    }
    for (let one = 0; one < texts.length; one++) {
      for (let other = 0; other < one; other++) {
        const a = texts[one].box, b = texts[other].box;
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        // The box of a text is higher than its visible part.
        if (across > 1 && down > 0.35 * Math.min(a.height, b.height)) wrong.push(`${title}: ${name(texts[one].text)} is over ${name(texts[other].text)}`);
      }
    }
  }
  for (const figure of page.querySelectorAll('figure')) {
    if (!figure.querySelector('.seen')?.textContent) wrong.push('a figure that does not say what is to be seen');
  }
  const text = page.body.innerText.match(/failed:|NaN|undefined|not comparably|Not as it should|Not all of it/);
  if (text) wrong.push(`it says '${text[0]}'`);
  return wrong;
}

addEventListener('load', () => {
  const wrong = look(document.querySelector('iframe'));
  document.querySelector('#verdict').textContent = wrong.length ? `wrong: ${wrong.join('; ')}` : 'ok';
});
