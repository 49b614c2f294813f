//! The haversine of the claims, in Rust: see compute.py. Built by `rustc -O`.

use std::time::Instant;

const PASSES: usize = 60;
const POINTS: usize = 2_000;

fn points() -> Vec<f64> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / 4_294_967_296.0 * 3.0 - 1.5
    };
    (0..2 * POINTS).map(next).collect()
}

fn haversine(places: &[f64]) -> f64 {
    let mut total = 0.0;
    for at in (0..2 * POINTS - 2).step_by(2) {
        let [a, b, c, d] = [places[at], places[at + 1], places[at + 2], places[at + 3]];
        let (u, v) = (((c - a) / 2.0).sin(), ((d - b) / 2.0).sin());
        total += 12742.0 * (u * u + a.cos() * c.cos() * v * v).sqrt().asin();
    }
    total
}

fn main() {
    let places = points();
    let (mut best, mut total) = (f64::INFINITY, 0.0);
    for _ in 0..PASSES {
        let begun = Instant::now();
        total = haversine(std::hint::black_box(&places));
        best = best.min(begun.elapsed().as_nanos() as f64 / (POINTS - 1) as f64);
    }
    println!("{{\"ns\": {best}, \"sum\": \"{total:.3}\"}}");
}
