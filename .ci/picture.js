// Checks that the picture in this page shows something. A page that was not drawn has one colour.
'use strict';

addEventListener('load', () => {
  const picture = document.querySelector('img'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer), count = new Map();
  for (const pixel of pixels) count.set(pixel, (count.get(pixel) ?? 0) + 1);
  const most = Math.max(...count.values()) / pixels.length;
  const seen = `${canvas.width} by ${canvas.height} pixels, ${count.size} colours, ${(100 * most).toFixed(0)} % of one`;
  document.querySelector('#verdict').textContent = count.size > 50 && most < 0.97 ? `ok: ${seen}` : `wrong: ${seen}`;
});
