//! Tests of the reactor's promises, each on the kernel and in memory. The name of a test is the promise.

#[macro_use]
mod stage;

mod datagram_io_contract;
mod descriptors;
mod examples;
mod io_contract;
mod kernel;
mod line_receiver;
mod memory_io;
mod reactor;
mod reactor_random;
mod traced_io;
