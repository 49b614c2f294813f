//! The exercises of the course in reactor design: one file each, to be edited until its test passes.
//!
//! README.md lists them. The feature `solutions` takes the files of the same names from `.solutions`.

// Written out, because rustfmt does not look into macros.
#[cfg_attr(feature = "solutions", path = "../.solutions/e01_upper.rs")]
pub mod e01_upper;
#[cfg_attr(feature = "solutions", path = "../.solutions/e02_slices.rs")]
pub mod e02_slices;
#[cfg_attr(feature = "solutions", path = "../.solutions/e03_edge.rs")]
pub mod e03_edge;
#[cfg_attr(feature = "solutions", path = "../.solutions/e04_one_sync.rs")]
pub mod e04_one_sync;
#[cfg_attr(feature = "solutions", path = "../.solutions/e05_priority.rs")]
pub mod e05_priority;
#[cfg_attr(feature = "solutions", path = "../.solutions/e06_at_most.rs")]
pub mod e06_at_most;
#[cfg_attr(feature = "solutions", path = "../.solutions/e07_idle.rs")]
pub mod e07_idle;
#[cfg_attr(feature = "solutions", path = "../.solutions/e08_rate.rs")]
pub mod e08_rate;
#[cfg_attr(feature = "solutions", path = "../.solutions/e09_lines.rs")]
pub mod e09_lines;
#[cfg_attr(feature = "solutions", path = "../.solutions/e10_netstrings.rs")]
pub mod e10_netstrings;
#[cfg_attr(feature = "solutions", path = "../.solutions/e11_pace.rs")]
pub mod e11_pace;
#[cfg_attr(feature = "solutions", path = "../.solutions/e12_topics.rs")]
pub mod e12_topics;
#[cfg_attr(feature = "solutions", path = "../.solutions/e13_after_fin.rs")]
pub mod e13_after_fin;
#[cfg_attr(feature = "solutions", path = "../.solutions/e14_farewell.rs")]
pub mod e14_farewell;
#[cfg_attr(feature = "solutions", path = "../.solutions/e15_retry.rs")]
pub mod e15_retry;
#[cfg_attr(feature = "solutions", path = "../.solutions/e16_eyeballs.rs")]
pub mod e16_eyeballs;
#[cfg_attr(feature = "solutions", path = "../.solutions/e17_scramble.rs")]
pub mod e17_scramble;
#[cfg_attr(feature = "solutions", path = "../.solutions/e18_ping.rs")]
pub mod e18_ping;
#[cfg_attr(feature = "solutions", path = "../.solutions/e19_forget.rs")]
pub mod e19_forget;
#[cfg_attr(feature = "solutions", path = "../.solutions/e20_digests.rs")]
pub mod e20_digests;
#[cfg_attr(feature = "solutions", path = "../.solutions/e21_seed.rs")]
pub mod e21_seed;
