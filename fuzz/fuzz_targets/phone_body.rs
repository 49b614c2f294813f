#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| places_herd_fuzz::phone_body(data));
