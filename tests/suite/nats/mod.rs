//! The NATS double, against what real servers do.

mod double;
mod transcripts;
