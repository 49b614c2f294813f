// The search: clients whose id contains a text, and the one that the reader has chosen.
//
// In: the reader's text and choice; `/v1/near` for the places near the client, asked only when the reader does, because a
// source of places may cost money. Out: the list, the chosen client, the map's centre. It searches what the stream has sent.

import { $, address, duration, make, number } from './dom.js';

const FOUND_MAX = 20, NEAR_KM = 20, NEAR_MAX = 10;

export class Find {
  #asked = 0;
  #shown = '';

  constructor(clients, map, herd) {
    Object.assign(this, { clients, map, herd });
    $('query').addEventListener('input', () => this.search());
    $('close').addEventListener('click', () => this.choose(null));
    $('centre').addEventListener('click', () => map.centre(map.selected));
    $('follow').addEventListener('click', () => this.#follow(!map.following));
    $('ask').addEventListener('click', () => this.#askNear());
    map.onPick = key => this.choose(key);
    $('find').addEventListener('keydown', event => this.#key(event));
    document.addEventListener('keydown', event => {
      if (event.key !== '/' || event.target.matches('input')) return;
      event.preventDefault();
      $('query').focus();
    });
  }

  // Escape clears the search and then the choice; up and down walk through the list; Enter chooses the first of it.
  #key(event) {
    const stops = [$('query'), ...$('found').querySelectorAll('button')];
    const at = stops.indexOf(document.activeElement), step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && at >= 0) {
      event.preventDefault();
      stops[at + step]?.focus();
    } else if (event.key === 'Enter' && at === 0) {
      stops[1]?.click();
    } else if (event.key === 'Escape') {
      if ($('query').value) $('query').value = ''; else this.choose(null);
      this.search();
      $('query').focus();
    }
  }

  search() {
    const text = $('query').value.toLowerCase(), { ids, count } = this.clients, found = [];
    let all = 0;
    for (let i = 0; text && i < count; i++) {
      if (ids[i].toLowerCase().includes(text) && ++all <= FOUND_MAX) found.push(i);
    }
    $('found').hidden = !found.length;
    $('count').hidden = !text;
    $('count').textContent = all > FOUND_MAX ? `${FOUND_MAX} of ${number(all)} found` : `${all} found`;
    // An unchanged list stays, because the reader may be about to press one of its buttons.
    const keys = found.map(i => this.clients.keys[i]), shown = keys.join('\n');
    if (shown === this.#shown) return $('found').querySelectorAll('small').forEach((age, n) => (age.textContent = this.#age(found[n])));
    this.#shown = shown;
    $('found').replaceChildren(...found.map((i, n) => {
      const key = keys[n], button = make('button', { type: 'button' }, make('bdi', {}, ids[i]), make('small', {}, this.#age(i)));
      button.addEventListener('click', () => {
        this.choose(key);
        this.map.centre(key);
      });
      return make('li', {}, button);
    }));
  }

  #age(i) {
    return `${duration(this.herd.serverTime() - this.clients.time[i])} ago`;
  }

  choose(key) {
    Object.assign(this.map, { selected: key, following: false });
    this.#asked += 1;
    $('near-state').textContent = '';
    $('near').replaceChildren();
    this.map.repaint();
    this.show();
  }

  #follow(follows) {
    this.map.following = follows;
    if (follows) this.map.centre(this.map.selected);
    this.show();
  }

  // Shows the chosen client as it is now.
  show() {
    const { clients, map } = this, i = map.selected === null ? -1 : clients.indexOf(map.selected);
    $('client').hidden = map.selected === null;
    $('follow').setAttribute('aria-pressed', map.following);
    if (i < 0) {
      $('client-age').textContent = 'gone: no server knows it any more';
      return;
    }
    // An unchanged text is not written again, so that a reader can select it.
    const write = (id, text) => $(id).textContent !== text && ($(id).textContent = text);
    write('client-id', clients.ids[i]);
    write('client-age', this.#age(i));
    write('client-location', `${clients.latitude[i].toFixed(5)}, ${clients.longitude[i].toFixed(5)}`);
    write('client-server', clients.servers[clients.server[i]]);
  }

  async #askNear() {
    const key = this.map.selected, asked = ++this.#asked;
    $('near-state').textContent = 'asking\u2026';
    const [state, places] = await near(key).catch(() => ['No answer.', []]);
    if (asked !== this.#asked) return;
    $('near-state').textContent = state;
    $('near').replaceChildren(...places.map(({ name, vicinity }) =>
      make('li', {}, make('bdi', {}, String(name)), make('small', {}, vicinity && vicinity !== name ? String(vicinity) : ''))));
  }
}

// What is near the client: a sentence, and the places.
async function near(key) {
  const url = address('/v1/near', { radius: NEAR_KM, limit: NEAR_MAX });
  // The bytes of an id that is not UTF-8 are escaped one by one.
  const id = key.startsWith('\0') ? key.slice(1).replace(/../g, '%$&') : encodeURIComponent(key);
  const reply = await fetch(`${url}&client=${id}`), body = await reply.json();
  if (!reply.ok) return [String(body.detail ?? `Status ${reply.status}.`), []];
  const places = body.results ?? [];
  return [places.length ? `Within ${NEAR_KM} km:` : `Nothing is known within ${NEAR_KM} km.`, places];
}
