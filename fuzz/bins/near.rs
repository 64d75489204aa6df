#![no_main]

use portcullis_fuzz::{bounded, hostile::near, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("near"),
    |input: &[u8]| bounded(input, near::run)
);
