#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| places_herd_fuzz::nats_server(data));
