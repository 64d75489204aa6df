//! Loads one server after the other over loopback and writes what each request cost: `load <result.json> [--quick]
//! [rows.. gathering]`.
//!
//! The figure is CPU time of server and Redis per request. It depends much less on what else the machine does than
//! throughput and latency, which are noted beside it. Each row is measured in several rounds, each time right after the
//! bare handler, which gets the very same bytes; a row's ratio is the median of its rounds.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use portcullis_benches::{
    client::{Connection, load},
    cpu,
    redis_server::RedisServer,
    rows::{BARE, CONNECTIONS, GATHERING, ROWS, Row},
    serve::{CLIENTS, Ready},
    stats::{median, percentile, range},
};
use serde_json::{Value, json};

/// Revocations of others in every run.
const ENTRIES: usize = 10_000;

struct Plan {
    rounds: usize,
    warm_up: Duration,
    window: Duration,
    bare_window: Duration,
    counted: u64,
}

/// A server of its own process, which ends with this value.
struct Server {
    child: Child,
    ready: Ready,
}

impl Server {
    fn start(program: &str, row: &str, redis: &RedisServer) -> Self {
        let beside = env::current_exe()
            .expect("a program")
            .with_file_name(program);
        let mut child = Command::new(beside)
            .args([row, &redis.url()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server is built");
        let mut line = String::new();
        let output = child.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let ready = serde_json::from_str(&line);
        Self {
            ready: ready.unwrap_or_else(|_| panic!("{row} did not start")),
            child,
        }
    }

    fn cpu(&self) -> Duration {
        cpu::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one round of one server showed.
struct Slice {
    /// Microseconds of CPU per request.
    server: f64,
    redis: f64,
    throughput: f64,
    p50: u32,
    p99: u32,
    /// Commands that Redis got with each read, if any.
    gathered: Option<f64>,
}

impl Slice {
    fn cpu(&self) -> f64 {
        self.server + self.redis
    }
}

async fn slice(
    server: &Server,
    requests: &[String],
    redis: &RedisServer,
    warm_up: Duration,
    window: Duration,
) -> Slice {
    let commands = redis.number("total_commands_processed").await;
    let reads = redis.number("total_reads_processed").await;
    let look = || (server.cpu(), cpu::of(redis.pid()));
    let (seen, before, after) = load(server.ready.port, requests, warm_up, window, look).await;
    let commands = redis.number("total_commands_processed").await - commands;
    let reads = redis.number("total_reads_processed").await - reads;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / seen.requests as f64;
    Slice {
        server: each(after.0 - before.0),
        redis: each(after.1 - before.1),
        throughput: seen.requests as f64 / seen.took.as_secs_f64(),
        p50: percentile(&seen.latencies, 50),
        p99: percentile(&seen.latencies, 99),
        gathered: (commands > 1000).then(|| commands as f64 / reads as f64),
    }
}

/// What one request costs that has the server to itself: on one connection, one after the other.
struct Counts {
    trips: f64,
    commands: f64,
    inside: f64,
    allocations: f64,
}

async fn count(server: &Server, requests: &[String], redis: &RedisServer, plan: &Plan) -> Counts {
    let request = &requests[0];
    let mut connection = Connection::open(server.ready.port).await;
    for _ in 0..500 {
        connection.send(request.as_bytes()).await;
    }
    let each = |n: u64, of: u64| n as f64 / of as f64;
    let asked = "GET /_allocations HTTP/1.1\r\nhost: localhost\r\n\r\n".as_bytes();
    let allocated = async |connection: &mut Connection| -> u64 {
        let text = String::from_utf8_lossy(connection.send(asked).await).into_owned();
        text.parse().expect("a number")
    };
    let before = allocated(&mut connection).await;
    let reads = redis.number("total_reads_processed").await;
    for _ in 0..plan.counted {
        connection.send(request.as_bytes()).await;
    }
    // The second question was a read itself.
    let reads = redis.number("total_reads_processed").await - reads - 1;
    let after = allocated(&mut connection).await;
    let watched = plan.counted / 10;
    let work = async {
        for _ in 0..watched {
            connection.send(request.as_bytes()).await;
        }
    };
    let seen = redis.watch(work).await;
    Counts {
        trips: each(reads, plan.counted),
        commands: each(seen.sent, watched),
        inside: each(seen.inside, watched),
        allocations: each(after - before, plan.counted),
    }
}

/// The bare handler gets the very same bytes; except beside the row that shows what they cost.
fn bare_gets<'a>(row: &Row, bare: &'a Server, requests: &'a [String]) -> &'a [String] {
    if row.name == "bare_heavy" {
        return &bare.ready.requests;
    }
    requests
}

async fn measure(row: &Row, bare: &Server, redis: &RedisServer, plan: &Plan) -> (Slice, Slice) {
    redis.reset(ENTRIES).await;
    let server = Server::start("server", row.name, redis);
    let requests = &server.ready.requests;
    let same = bare_gets(row, bare, requests);
    let base = slice(bare, same, redis, plan.warm_up, plan.bare_window).await;
    let own = slice(&server, requests, redis, plan.warm_up, plan.window).await;
    (base, own)
}

fn report(row: &Row, rounds: &[(Slice, Slice)], counts: &Counts, base: &Counts) -> Value {
    let each = |of: fn(&(Slice, Slice)) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
    let middle = |of: fn(&(Slice, Slice)) -> f64| median(&each(of));
    let ratios = each(|(base, own)| own.cpu() / base.cpu());
    let (low, high) = range(&ratios);
    let gathered: Vec<f64> = rounds.iter().filter_map(|(_, own)| own.gathered).collect();
    json!({
        "name": row.name,
        "ratio": median(&ratios), "low": low, "high": high,
        "bare_us": middle(|(base, _)| base.cpu()),
        "server_us": middle(|(_, own)| own.server),
        "redis_us": middle(|(_, own)| own.redis),
        "throughput": middle(|(_, own)| own.throughput),
        "bare_throughput": middle(|(base, _)| base.throughput),
        "p50_us": middle(|(_, own)| own.p50.into()),
        "p99_us": middle(|(_, own)| own.p99.into()),
        "gathered": (!gathered.is_empty()).then(|| median(&gathered)),
        "trips": counts.trips, "commands": counts.commands, "inside": counts.inside,
        "allocations": counts.allocations - base.allocations,
    })
}

fn main() {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    arguments.retain(|argument| argument != "--quick");
    let result = PathBuf::from(arguments.first().expect("where the result goes"));
    let wanted =
        |row: &&Row| arguments.len() == 1 || arguments[1..].iter().any(|name| name == row.name);
    let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
    let with_gathering =
        arguments[1..].is_empty() || arguments[1..].iter().any(|a| a == "gathering");
    let millis = Duration::from_millis;
    let plan = if quick {
        Plan {
            rounds: 1,
            warm_up: millis(150),
            window: millis(600),
            bare_window: millis(500),
            counted: 500,
        }
    } else {
        Plan {
            rounds: 5,
            warm_up: millis(250),
            window: millis(1200),
            bare_window: millis(800),
            counted: 5000,
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let all = runtime
        .expect("a runtime")
        .block_on(run(&rows, with_gathering, &plan));
    fs::write(&result, serde_json::to_string_pretty(&all).expect("text")).expect("written");
}

/// What gathering is worth, by the number of connections.
async fn gathering(redis: &RedisServer, plan: &Plan) -> Vec<Value> {
    let mut table = Vec::new();
    for connections in CONNECTIONS {
        let mut slices: [Vec<Slice>; 2] = Default::default();
        for _ in 0..plan.rounds {
            for (row, slices) in GATHERING.iter().zip(&mut slices) {
                redis.reset(ENTRIES).await;
                let server = Server::start("server", row, redis);
                let requests = server.ready.requests.iter().cycle().take(connections);
                let requests: Vec<String> = requests.cloned().collect();
                slices.push(slice(&server, &requests, redis, plan.warm_up, plan.window).await);
            }
        }
        let [with, without] = slices.map(|slices| {
            let middle = |of: fn(&Slice) -> f64| median(&slices.iter().map(of).collect::<Vec<_>>());
            json!({
                "cpu_us": middle(Slice::cpu), "p50_us": middle(|slice| slice.p50.into()),
                "p99_us": middle(|slice| slice.p99.into()), "throughput": middle(|slice| slice.throughput),
            })
        });
        eprintln!("gathering at {connections}: {with}, without {without}");
        table.push(json!({ "connections": connections, "with": with, "without": without }));
    }
    table
}

async fn run(rows: &[&Row], with_gathering: bool, plan: &Plan) -> Value {
    let redis = RedisServer::start().await;
    let loads = (cpu::load(), redis.info("redis_version").await);
    let bare = Server::start("server", BARE, &redis);
    let mut rounds: Vec<Vec<(Slice, Slice)>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.rounds {
        for (at, row) in rows.iter().enumerate() {
            let (base, own) = measure(row, &bare, &redis, plan).await;
            eprintln!(
                "round {} of {}  {:22} {:6.2} x bare  ({:5.1} + {:4.1} us, bare {:4.1})  {:6.0}/s  p50 {} p99 {} us",
                round + 1,
                plan.rounds,
                row.name,
                own.cpu() / base.cpu(),
                own.server,
                own.redis,
                base.cpu(),
                own.throughput,
                own.p50,
                own.p99,
            );
            rounds[at].push((base, own));
        }
    }
    let mut table = Vec::new();
    for (row, rounds) in rows.iter().zip(&rounds) {
        redis.reset(ENTRIES).await;
        let server = Server::start("server_counting", row.name, &redis);
        let requests = &server.ready.requests;
        let counts = count(&server, requests, &redis, plan).await;
        let bare = Server::start("server_counting", BARE, &redis);
        let base = count(&bare, bare_gets(row, &bare, requests), &redis, plan).await;
        eprintln!(
            "counted  {:22} {:.2} trips, {:.2} + {:.2} commands, {:+.1} allocations",
            row.name,
            counts.trips,
            counts.commands,
            counts.inside,
            counts.allocations - base.allocations,
        );
        table.push(report(row, rounds, &counts, &base));
    }
    let gathering = match with_gathering {
        true => gathering(&redis, plan).await,
        false => Vec::new(),
    };
    json!({
        "gathering": gathering,
        "rounds": plan.rounds, "window_ms": plan.window.as_millis() as u64, "clients": CLIENTS,
        "load_before": loads.0, "load_after": cpu::load(), "redis": loads.1, "entries": ENTRIES,
        "rows": table,
    })
}
