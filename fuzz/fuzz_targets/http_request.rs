#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| places_herd_fuzz::http_request(data));
