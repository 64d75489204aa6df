#![no_main]

use portcullis_fuzz::{bounded, hostile::oauth, sow};

libfuzzer_sys::fuzz_target!(
    init: sow("oauth"),
    |input: &[u8]| bounded(input, oauth::run)
);
