// What the other modules share: elements, durations, requests.
//
// Ids, names and places are texts from strangers. They become text nodes and attributes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

export const $ = id => document.getElementById(id);

// A new element of HTML, or of SVG after `svg:`. Children that are strings become text.
export function make(name, attributes = {}, ...children) {
  const element = name.startsWith('svg:') ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  element.append(...children);
  return element;
}

// A duration in its largest unit: 42 s, 3 min, 2 h, 5 d.
export function duration(seconds) {
  const units = [[86_400, 'd'], [3_600, 'h'], [60, 'min'], [1, 's']];
  const [length, unit] = units.find(([length]) => seconds >= length) ?? units[3];
  return `${Math.max(0, Math.floor(seconds / length))} ${unit}`;
}

export const number = value => value.toLocaleString('en');

// The URL of a path of this server or of the one at `base`, with the token of the page's own URL.
export function address(path, parameters = {}, base = location.origin) {
  const url = new URL(path, base), token = new URLSearchParams(location.search).get('token');
  for (const key in parameters) url.searchParams.set(key, parameters[key]);
  if (token !== null) url.searchParams.set('token', token);
  return url;
}
