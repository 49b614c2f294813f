//! An application server herd: a hand-written reactor after Twisted's, and what runs on it.

pub mod reactor;

pub mod line_receiver;

pub mod dns;

pub mod https;

pub mod secret;

pub mod places;

pub mod herd;

pub mod log;

pub mod testing;
