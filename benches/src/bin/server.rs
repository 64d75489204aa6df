//! The servers whose CPU time is measured.

fn main() {
    portcullis_benches::serve::main();
}
