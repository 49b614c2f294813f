// The world's land, as paths that a canvas draws at any zoom.
//
// In: world.json, TopoJSON: arcs of quantized steps, and polygons made of arcs (~n is arc n backwards). Out: two Path2D in
// world units: Web Mercator, x from 0 to 1 going east, y from 0 to 1 going south. Rings that cross the antimeridian are
// unrolled: their x continues below 0 or beyond 1, so that the caller draws a copy of the world on either side.

const LATITUDE_MAX = 85.0511;

// A location in world units.
export function project(longitude, latitude) {
  const clamped = Math.max(-LATITUDE_MAX, Math.min(LATITUDE_MAX, latitude));
  return [longitude / 360 + 0.5, 0.5 - Math.asinh(Math.tan(clamped * Math.PI / 180)) / (2 * Math.PI)];
}

// The latitude at y.
export const latitudeAt = y => Math.atan(Math.sinh((0.5 - y) * 2 * Math.PI)) * 180 / Math.PI;

function decode({ transform: { scale, translate }, arcs }) {
  return arcs.map(arc => {
    let x = 0, y = 0;
    return arc.map(([dx, dy]) => [(x += dx) * scale[0] + translate[0], (y += dy) * scale[1] + translate[1]]);
  });
}

// Adds `points` to `path`. A step of more than 180 degrees goes the other way round the world. Returns the first and the
// last x.
function trace(path, points) {
  let turns = 0, before = points[0][0], first;
  points.forEach(([longitude, latitude], n) => {
    if (longitude - before > 180) turns -= 1;
    if (longitude - before < -180) turns += 1;
    before = longitude;
    const [x, y] = project(longitude, latitude);
    if (n) path.lineTo(x + turns, y); else path.moveTo(first = x, y);
  });
  return [first, project(before, 0)[0] + turns];
}

// Reads the world at `url`: `land` is to be filled, and `borders`, the arcs between two countries, to be stroked.
export async function loadWorld(url) {
  const topology = await (await fetch(url)).json();
  const arcs = decode(topology), uses = new Uint8Array(arcs.length);
  const land = new Path2D(), borders = new Path2D();
  for (const ring of topology.objects.countries.arcs.flat()) {
    const points = ring.flatMap((n, at) => {
      uses[n < 0 ? ~n : n] += 1;
      const arc = n < 0 ? arcs[~n].toReversed() : arcs[n];
      return at ? arc.slice(1) : arc;
    });
    if (points.length < 4) continue;
    const [first, last] = trace(land, points);
    if (Math.abs(last - first) > 0.5) {
      // A ring around the pole: Antarctica. It is closed below the map.
      land.lineTo(last, 1.1);
      land.lineTo(first, 1.1);
    }
    land.closePath();
  }
  arcs.forEach((arc, n) => uses[n] > 1 && trace(borders, arc));
  return { land, borders };
}
