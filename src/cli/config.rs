//! `herd config`: every key of a topology, as a page of documentation.

use super::exit::Failure;
use super::unprinted;
use crate::config::page;
use std::io::{self, Write};

/// Print every key of topology.toml: type, unit, range, default and meaning
#[derive(Debug, clap::Args)]
pub(super) struct PrintConfig {}

impl PrintConfig {
    pub(super) fn run(&self) -> Result<(), Failure> {
        io::stdout().write_all(page().as_bytes()).or_else(|e| unprinted(&e))
    }
}
