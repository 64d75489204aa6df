//! What 10³ to 10⁶ sessions, devices and revocations cost: memory for each, and time per operation among so many.
//! `growth <result.json> [--quick]`

use std::{
    convert::Infallible,
    env, fs,
    pin::pin,
    time::{Duration, Instant},
};

use http::{Request, Response};
use portcullis::{
    KeyRing, Store,
    blacklist::{Blacklist, BlacklistLayer},
    device::Devices,
    jwt::{Grant, Issuer, JwtVerifyLayer, NoClaims},
    session::SessionLayer,
};
use portcullis_benches::{
    alloc,
    in_process::{Where, answer, read_count, request, sign_in},
    ours::{AUDIENCE, ISSUER, rsa_key},
    redis_server::RedisServer,
    stats::percentile,
};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceBuilder, service_fn};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

/// What is copied at a time: a script that runs longer keeps the server from answering.
const PART: usize = 50_000;

/// How long everything lives: longer than the run.
const LIFE_MS: &str = "3600000";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let most = if quick { 10_000 } else { 1_000_000 };
    let sizes: Vec<usize> = [1_000, 10_000, 100_000, 1_000_000]
        .into_iter()
        .filter(|size| *size <= most)
        .collect();
    let mut result = json!({ "sessions": [], "devices": [], "revocations": [] });
    let mut note = |table: &str, row: Value| {
        eprintln!("{table} {row}");
        result[table].as_array_mut().expect("a list").push(row);
    };
    for &size in &sizes {
        note("sessions", sessions(size).await);
    }
    for devices in [1, 10, 100, 1_000] {
        note("devices", devices_of_one_user(devices).await);
    }
    for &size in &sizes {
        note("revocations", revocations(size).await);
    }
    let file = arguments.first().expect("where the result goes");
    fs::write(file, serde_json::to_string_pretty(&result).expect("text")).expect("written");
}

fn keys() -> KeyRing {
    KeyRing::new("a secret of at least thirty-two bytes").expect("long enough")
}

fn layer(store: &Store) -> SessionLayer {
    let sessions = SessionLayer::builder(store, &keys()).insecure_plain_http();
    sessions.build().expect("settings")
}

fn roomy_memory() -> Store {
    Store::builder().memory_limit(8 << 30).memory()
}

/// Microseconds per call, one after the other: the median of ten parts.
async fn time<F: Future>(calls: usize, mut call: impl FnMut() -> F) -> f64 {
    let mut parts = Vec::new();
    for _ in 0..10 {
        let started = Instant::now();
        for _ in 0..calls / 10 {
            call().await;
        }
        parts.push(started.elapsed().as_secs_f64() * 1e6 / (calls / 10) as f64);
    }
    portcullis_benches::stats::median(&parts)
}

async fn used(redis: &RedisServer) -> i64 {
    redis.number("used_memory").await as i64
}

/// Copies what matches `count` times, under names as long as its own; gives the bytes that each took.
async fn copies(redis: &RedisServer, pattern: &str, count: usize) -> f64 {
    // The end of a name is a hash or a tag and a word of at least twelve characters.
    let copy = "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do for _, key in ipairs(KEYS) do \
        local name = string.sub(key, 1, -13) .. string.format('%012d', i) \
        redis.call('COPY', key, name) redis.call('PEXPIRE', name, ARGV[3]) end end";
    let keys: Vec<String> = redis.ask(&["KEYS", pattern]).await;
    let number = keys.len().to_string();
    let before = used(redis).await;
    for from in (0..count).step_by(PART) {
        let to = (from + PART).min(count) - 1;
        let (from, to) = (from.to_string(), to.to_string());
        let mut script = vec!["EVAL", copy, &number];
        script.extend(keys.iter().map(String::as_str));
        script.extend([from.as_str(), &to, LIFE_MS]);
        let () = redis.ask(&script).await;
    }
    (used(redis).await - before) as f64 / count as f64
}

async fn read_time(sessions: &SessionLayer, cookie: &str, calls: usize) -> f64 {
    let service = sessions.layer(service_fn(read_count));
    let headers = [("cookie", cookie.to_owned())];
    time(calls, || {
        let (mut service, request) = (service.clone(), request("GET", &headers));
        async move {
            let response = service.call(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
        }
    })
    .await
}

/// A session of ten fields of 48 bytes, its user signed in, among `count` others.
async fn sessions(count: usize) -> Value {
    let redis = RedisServer::start().await;
    let store = Where::Redis(redis.url()).store().await;
    let own = layer(&store);
    let (cookie, _) = sign_in(&own, "alice", 10).await;
    let session = copies(&redis, "portcullis:session:*", count).await;
    let index = copies(&redis, "portcullis:devices*", count).await;
    let in_redis = read_time(&own, &cookie, 2_000).await;

    let memory = roomy_memory();
    let own = layer(&memory);
    let (cookie, _) = sign_in(&own, "alice", 10).await;
    let before = alloc::live();
    for user in 0..count {
        sign_in(&own, &format!("user-{user:08}"), 10).await;
    }
    let in_memory = (alloc::live() - before) as f64 / count as f64;
    let near = read_time(&own, &cookie, 20_000).await;
    json!({
        "count": count,
        "redis_session_bytes": session, "redis_device_bytes": index, "redis_read_us": in_redis,
        "memory_bytes": in_memory, "memory_read_us": near,
    })
}

/// One user who is signed in on `count` devices.
async fn devices_of_one_user(count: usize) -> Value {
    let redis = RedisServer::start().await;
    let store = Where::Redis(redis.url()).store().await;
    let own = layer(&store);
    let mut login = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        sign_in(&own, "alice", 1).await;
        login.push(started.elapsed().as_secs_f64() * 1e6);
    }
    let last = &login[count - count.div_ceil(10)..];
    let devices = Devices::new(&store);
    let calls = (20_000 / count).clamp(20, 1_000);
    let list = time(calls, || async {
        let listed = devices.list("", "alice", None).await;
        assert_eq!(listed.expect("Redis").len(), count);
    })
    .await;
    let keys: Vec<String> = redis.ask(&["KEYS", "portcullis:*"]).await;
    let mut bytes = 0;
    for key in keys.iter().filter(|key| !key.contains(":session:")) {
        let used: i64 = redis.ask(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).await;
        bytes += used;
    }
    json!({
        "count": count, "bytes": bytes as f64 / count as f64, "list_us": list,
        "login_us": portcullis_benches::stats::median(last),
    })
}

/// A good token, checked while `count` others are revoked.
async fn revocations(count: usize) -> Value {
    let redis = RedisServer::start().await;
    let before = used(&redis).await;
    let fill = "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do \
        redis.call('SET', string.format('jwt:blacklist:5f0c1d9a-7c1e-4b1e-9d52-%012d', i), '1', 'PX', ARGV[3]) end";
    for from in (0..count).step_by(PART) {
        let to = (from + PART).min(count) - 1;
        let (from, to) = (from.to_string(), to.to_string());
        let () = redis.ask(&["EVAL", fill, "0", &from, &to, LIFE_MS]).await;
    }
    let in_redis = (used(&redis).await - before) as f64 / count as f64;
    let store = Where::Redis(redis.url()).store().await;
    let checks = checks_of(&store);
    let strict = time(2_000, || checks.one()).await;

    let (before, started) = (alloc::live(), Instant::now());
    let near = store
        .near()
        .max_staleness(Duration::from_millis(500))
        .max_entries(count + 10);
    let near = near.start().expect("a replica");
    let meanwhile = meanwhile(async || checks.one().await, near.ready()).await;
    let load = started.elapsed();
    assert_eq!(near.status().entries, count);
    let in_replica = (alloc::live() - before) as f64 / count as f64;
    let near = time(20_000, || checks.one()).await;

    let memory = roomy_memory();
    let blacklist = Blacklist::new(&memory);
    let before = alloc::live();
    for sid in 0..count {
        let sid = format!("5f0c1d9a-7c1e-4b1e-9d52-{sid:012}");
        blacklist.revoke_session(&sid).await.expect("memory");
    }
    let in_memory = (alloc::live() - before) as f64 / count as f64;
    let checks = checks_of(&memory);
    let memory = time(20_000, || checks.one()).await;
    json!({
        "count": count, "redis_bytes": in_redis, "redis_check_us": strict,
        "replica_bytes": in_replica, "replica_load_ms": load.as_secs_f64() * 1e3, "replica_check_us": near,
        "loading_p50_us": percentile(&meanwhile, 50), "loading_p99_us": percentile(&meanwhile, 99),
        "memory_bytes": in_memory, "memory_check_us": memory,
    })
}

/// A token seen before, and whether it is revoked.
struct Checks<S> {
    service: S,
    bearer: String,
}

impl<S> Checks<S>
where
    S: Service<Request<String>, Response = Response<String>, Error = Infallible> + Clone,
{
    async fn one(&self) {
        let request = Request::get("/").header("authorization", &self.bearer);
        let request = request.body(String::new()).expect("a request");
        let response = self.service.clone().call(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
    }
}

fn checks_of(
    store: &Store,
) -> Checks<impl Service<Request<String>, Response = Response<String>, Error = Infallible> + Clone>
{
    let issuer = Issuer::new(rsa_key(), ISSUER).audience(AUDIENCE).build();
    let issuer = issuer.expect("settings");
    let jwt = JwtVerifyLayer::<NoClaims>::new(issuer.keys().verification_keys());
    let jwt = jwt.issuer(ISSUER).audience(AUDIENCE).build();
    let service = ServiceBuilder::new()
        .layer(jwt.expect("settings"))
        .layer(BlacklistLayer::new(store))
        .service(service_fn(answer));
    let minted = issuer.mint(&Grant::user("alice").sid("a-login"));
    let bearer = format!("Bearer {}", minted.expect("a token").token());
    Checks { service, bearer }
}

/// Microseconds of each request until `done`, the shortest first.
async fn meanwhile(check: impl AsyncFn(), done: impl Future<Output = bool>) -> Vec<u32> {
    let (mut took, mut done) = (Vec::new(), pin!(done));
    loop {
        let started = Instant::now();
        tokio::select! {
            biased;
            done = &mut done => {
                assert!(done);
                took.sort_unstable();
                return took;
            }
            () = check() => took.push(started.elapsed().as_micros() as u32),
        }
    }
}
