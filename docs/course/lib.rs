//! The pages of the course, so that `cargo test` compiles and runs each Rust sample in them. `tests/course.rs` runs the
//! commands. The programs are in `examples/`.

/// Lists the pages whose samples are tests.
macro_rules! pages {
    ($($page:ident: $file:literal,)*) => { $(
        #[cfg(doctest)]
        #[doc = include_str!($file)]
        mod $page {}
    )* };
}

pages! {
    c01: "01-why-a-loop.md",
    c02: "02-readiness.md",
    c03: "03-the-turn.md",
    c04: "04-protocols.md",
    c05: "05-timers.md",
    c06: "06-lines.md",
    c07: "07-back-pressure.md",
    c08: "08-closing.md",
    c09: "09-clients.md",
    c10: "10-tls.md",
    c11: "11-many-servers.md",
    c12: "12-a-network-in-memory.md",
    break_it: "break-it.md",
    follow_iamat: "follow-an-iamat.md",
    follow_whatsat: "follow-a-whatsat.md",
    five_ways: "five-ways.md",
    teachers: "teachers.md",
    readme: "README.md",
}
