//! Each layer alone and all together, called in process: no sockets but those of Redis, no router. One request at a time,
//! so that a trip to Redis costs its whole latency; what it costs under load is the load run's matter.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_benches::{
    in_process::{App, Where, answer, bench, read_count, request, write_count},
    redis_server::RedisServer,
};
use tower::{Layer, ServiceBuilder, service_fn};

fn layers(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let redis = runtime.block_on(RedisServer::start());
    let mut group = criterion.benchmark_group("layers");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(20);

    let app = runtime.block_on(App::new(&Where::Memory, 1));
    bench(
        &mut group,
        &runtime,
        "bare handler",
        service_fn(answer),
        || app.request(),
    );
    let visitors = app.sessions.layer(service_fn(answer));
    bench(
        &mut group,
        &runtime,
        "session layer, a visitor",
        visitors,
        || request("GET", &[]),
    );
    let unused = app.sessions.layer(service_fn(answer));
    bench(
        &mut group,
        &runtime,
        "session layer, unused",
        unused,
        || app.request(),
    );
    let jwt = app.jwt.layer(service_fn(answer));
    bench(&mut group, &runtime, "jwt, seen before", jwt, || {
        app.request()
    });
    let csrf = ServiceBuilder::new()
        .layer(app.sessions.clone())
        .layer(app.csrf.clone());
    bench(
        &mut group,
        &runtime,
        "session layer + csrf",
        csrf.service(service_fn(answer)),
        || app.request(),
    );

    let places = [
        Where::Memory,
        Where::Redis(redis.url()),
        Where::Near(redis.url()),
    ];
    for place in &places {
        let app = runtime.block_on(App::new(place, 1));
        let name = |what: &str| format!("{what}, {place}");
        let read = app.sessions.layer(service_fn(read_count));
        bench(&mut group, &runtime, &name("session read"), read, || {
            app.request()
        });
        let write = app.sessions.layer(service_fn(write_count));
        bench(
            &mut group,
            &runtime,
            &name("session read + write"),
            write,
            || app.request(),
        );
        let revocation = ServiceBuilder::new()
            .layer(app.jwt.clone())
            .layer(app.blacklist.clone())
            .service(service_fn(answer));
        bench(
            &mut group,
            &runtime,
            &name("jwt + revocation"),
            revocation,
            || app.request(),
        );
        let all = ServiceBuilder::new()
            .layer(app.sessions.clone())
            .layer(app.jwt.clone())
            .layer(app.blacklist.clone())
            .layer(app.csrf.clone())
            .service(service_fn(read_count));
        bench(&mut group, &runtime, &name("full stack"), all, || {
            app.request()
        });
    }
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
