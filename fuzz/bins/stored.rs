#![no_main]

use portcullis_fuzz::{bounded, hostile::stored, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("stored"),
    |input: &[u8]| bounded(input, stored::run)
);
