#![no_main]

use portcullis_fuzz::{bounded, hostile::replies, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("replies"),
    |input: &[u8]| bounded(input, replies::run)
);
