#![no_main]

use portcullis_fuzz::{bounded, hostile::tokens, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("tokens"),
    |input: &[u8]| bounded(input, tokens::run)
);
