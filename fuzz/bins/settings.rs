#![no_main]

use portcullis_fuzz::{bounded, hostile::settings, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("settings"),
    |input: &[u8]| bounded(input, settings::run)
);
