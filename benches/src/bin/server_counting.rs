//! The same servers, counting what they allocate: apart, because counting costs.

#[global_allocator]
static ALLOCATOR: portcullis_benches::alloc::Counting = portcullis_benches::alloc::Counting;

fn main() {
    portcullis_benches::serve::main();
}
