//! The reactor's promises, each played on the kernel and in memory. The name of a test is the promise.

#[macro_use]
mod stage;

mod descriptors;
mod examples;
mod kernel;
mod line_receiver;
mod memory_io;
mod reactor;
mod reactor_random;
