//! The tests of all exercises, in one program: one module each.

mod e01_upper;
mod e02_slices;
mod e03_edge;
mod e04_one_sync;
mod e05_priority;
mod e06_at_most;
mod e07_idle;
mod e08_rate;
mod e09_lines;
mod e10_netstrings;
mod e11_pace;
mod e12_topics;
mod e13_after_fin;
mod e14_farewell;
mod e15_retry;
mod e16_eyeballs;
mod e17_scramble;
mod e18_ping;
mod e19_forget;
mod e20_digests;
mod e21_seed;
mod support;
