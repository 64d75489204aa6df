//! Sessions of 1, 10 and 100 fields of 48 bytes: one of them read, and one of them read and written.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_benches::{
    in_process::{App, Where, bench, read_count, write_count},
    redis_server::RedisServer,
};
use tower::{Layer, service_fn};

fn sessions(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let redis = runtime.block_on(RedisServer::start());
    let mut group = criterion.benchmark_group("sessions");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(20);
    for place in [Where::Memory, Where::Redis(redis.url())] {
        for fields in [1, 10, 100] {
            let app = runtime.block_on(App::new(&place, fields));
            let name = |what: &str| format!("{what}, {fields} fields, {place}");
            let read = app.sessions.layer(service_fn(read_count));
            bench(&mut group, &runtime, &name("read"), read, || app.request());
            let write = app.sessions.layer(service_fn(write_count));
            bench(&mut group, &runtime, &name("read + write"), write, || {
                app.request()
            });
        }
    }
    group.finish();
}

criterion_group!(benches, sessions);
criterion_main!(benches);
