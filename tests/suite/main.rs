//! The tests of the whole program, in one binary, because each binary links the program again.
//!
//! A module here is named after the module of `src/` that it tests. Ten have no module of their own in `src/`: `herd`
//! (real processes), `simulation` and `attack` test the whole program; `follow` writes two pages of the course from a run of
//! it; `documentation`, `source_links`, `layers`, `operating`, `packages` and `fuzz_corpora` test the repository.
//! tests/README.md says where to write a test and how to run one.

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod cli;
mod config;
mod documentation;
mod fetch {
    mod https;
    mod proxy;
}
mod follow;
mod fuzz_corpora;
mod herd;
mod http;
mod journal;
mod layers;
mod log;
mod nats;
mod net {
    mod dns;
}
mod operating;
mod packages;
#[cfg(all(target_os = "linux", feature = "embedded-places"))]
mod page;
mod places {
    mod faults;
    mod replies;
    mod served;
}
mod replication {
    mod acks;
    mod anti_entropy;
    mod large_herds;
}
mod server {
    mod chatserver;
    mod future_stamps;
    mod host_names;
    mod http_api;
    mod http_operations;
    mod http_port;
    mod http_reports;
    mod interserver;
    mod live_stream;
    mod peer_tls;
    #[cfg(all(target_os = "linux", feature = "embedded-places"))]
    mod phone_transcripts;
    mod status;
    mod transcripts;
}
mod simulation;
mod source_links;
mod table;
mod wire;
