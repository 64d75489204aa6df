#![no_main]

use portcullis_fuzz::{bounded, hostile::form, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("form"),
    |input: &[u8]| bounded(input, form::run)
);
