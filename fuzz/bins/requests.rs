#![no_main]

use portcullis_fuzz::{bounded, hostile::requests, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("requests"),
    |input: &[u8]| bounded(input, requests::run)
);
