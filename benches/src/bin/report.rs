//! Writes what was measured into the README and draws it: `report <directory of the results> <directory of the README>`.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use portcullis_benches::rows::{ROWS, Row, Whose};
use serde_json::Value;

const BEGIN: &str = "<!-- what benches/run writes -->";
const END: &str = "<!-- end of what benches/run writes -->";

fn main() {
    let mut arguments = env::args().skip(1).map(PathBuf::from);
    let results = arguments.next().expect("where the results are");
    let readme = arguments.next().expect("where the README is");
    let load = read(&results.join("load.json"));
    let growth = read(&results.join("growth.json"));
    let times = criterion(&results.join("criterion"));
    let mut text = String::new();
    machine(&mut text, &load);
    targets(&mut text, &load);
    all_rows(&mut text, &load);
    gathering(&mut text, &load);
    in_process(&mut text, &times);
    grown(&mut text, &growth);
    let file = readme.join("README.md");
    let before = fs::read_to_string(&file).expect("the README");
    let (head, rest) = before.split_once(BEGIN).expect("a place for the results");
    let (_, tail) = rest.split_once(END).expect("an end of that place");
    fs::write(
        &file,
        format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", text.trim()),
    )
    .expect("written");
    fs::write(readme.join("ratios.svg"), plot(&load)).expect("written");
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    serde_json::from_str(&text).expect("JSON")
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap_or(f64::NAN)
}

fn found<'a>(load: &'a Value, name: &str) -> Option<&'a Value> {
    let rows = load["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name)
}

/// The median of each benchmark, in nanoseconds, by group and name.
fn criterion(directory: &Path) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut groups = BTreeMap::new();
    for group in entries(directory) {
        let mut times = BTreeMap::new();
        for bench in entries(&group) {
            let estimates = bench.join("new/estimates.json");
            if !estimates.exists() {
                continue;
            }
            let name = read(&bench.join("new/benchmark.json"));
            let name = name["function_id"].as_str().expect("a name").to_owned();
            let median = &read(&estimates)["median"];
            times.insert(name, number(median, "point_estimate"));
        }
        let name = group.file_name().unwrap_or_default().to_string_lossy();
        groups.insert(name.into_owned(), times);
    }
    groups
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn said_by(program: &str, arguments: &[&str], word: usize) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_whitespace().nth(word).unwrap_or("?").to_owned()
}

fn machine(out: &mut String, load: &Value) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = said_by("uname", &["-r"], 0);
    let kernel: Vec<&str> = kernel.split(['.', '-']).take(2).collect();
    let rust = said_by("rustc", &["--version"], 1);
    let redis = load["redis"].as_str().unwrap_or("?");
    let (before, after) = (number(load, "load_before"), number(load, "load_after"));
    let _ = writeln!(
        out,
        "Measured on a virtual machine with {cores} cores, Linux {}, redis-server {redis}, Rust {rust}; {} connections, \
         {} rounds of {} ms for each row, {} revocations of others in Redis. Load average when the run began {before:.1}, when it \
         ended {after:.1}: the run itself makes about 2.5, all above that was other work on the same cores.\n",
        kernel.join("."),
        load["clients"],
        load["rounds"],
        load["window_ms"],
        load["entries"],
    );
}

/// What a layer in an axum router costs before it does anything.
fn boxed(load: &Value) -> f64 {
    found(load, "bare_layer").map_or(0.0, |row| number(row, "allocations").round())
}

fn targets(out: &mut String, load: &Value) {
    out.push_str("## Targets\n\n| | CPU, × bare | target | trips | target | allocations | target | |\n|---|--:|--:|--:|--:|--:|--:|---|\n");
    for row in ROWS {
        let (Some(target), Some(measured)) = (row.target, found(load, row.name)) else {
            continue;
        };
        let ratio = number(measured, "ratio");
        let trips = number(measured, "trips");
        let allocations = number(measured, "allocations") - boxed(load);
        let mut missed = Vec::new();
        if ratio > target.ratio + 0.005 {
            missed.push("CPU");
        }
        if trips > target.trips + 0.05 {
            missed.push("trips");
        }
        if target
            .allocations
            .is_some_and(|most| allocations > most + 0.05)
        {
            missed.push("allocations");
        }
        let verdict = match missed.as_slice() {
            [] => "met".to_owned(),
            missed => format!("**missed**: {}", missed.join(", ")),
        };
        let most = target
            .allocations
            .map_or(String::new(), |most| format!("≤ {most:.0}"));
        let _ = writeln!(
            out,
            "| {} | **{ratio:.2}** | ≤ {:.2} | {trips:.2} | {:.0} | {allocations:.1} | {most} | {verdict} |",
            row.label, target.ratio, target.trips,
        );
    }
    let _ = writeln!(
        out,
        "\nAllocations are those beyond a bare handler in a layer that does nothing: axum allocates {:.0} times for \
         any layer.\n\n![CPU per request as a multiple of the bare handler](ratios.svg)\n",
        boxed(load),
    );
}

fn all_rows(out: &mut String, load: &Value) {
    out.push_str(
        "## All rows\n\n| | CPU, × bare | lowest and highest round | server µs | Redis µs | trips | commands | inside scripts | allocations added | \
         commands per read | requests/s | p50 µs | p99 µs |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let bare = number(found(load, "bare_layer").unwrap_or(&Value::Null), "bare_us");
    let per_second = number(
        found(load, "bare_layer").unwrap_or(&Value::Null),
        "bare_throughput",
    );
    let _ = writeln!(
        out,
        "| bare handler | 1 | | {bare:.1} | 0.0 | 0.00 | 0.00 | 0.00 | 0.0 | | {per_second:.0} | | |"
    );
    for row in ROWS {
        let Some(measured) = found(load, row.name) else {
            continue;
        };
        let of = |field| number(measured, field);
        // Redis counts what scripts run among its commands.
        let sent = of("commands") / (of("commands") + of("inside"));
        let gathered = measured["gathered"].as_f64().map(|n| n * sent);
        let gathered = gathered.map_or(String::new(), |n| format!("{n:.1}"));
        let _ = writeln!(
            out,
            "| {} | **{:.2}** | {:.2} – {:.2} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {:.1} | {gathered} | {:.0} | {:.0} | {:.0} |",
            row.label,
            of("ratio"),
            of("low"),
            of("high"),
            of("server_us"),
            of("redis_us"),
            of("trips"),
            of("commands"),
            of("inside"),
            of("allocations"),
            of("throughput"),
            of("p50_us"),
            of("p99_us"),
        );
    }
    out.push('\n');
}

fn gathering(out: &mut String, load: &Value) {
    out.push_str(
        "\n## Gathering\n\nA session read, strict: over the store's own connection, which gathers the commands of concurrent \
         requests once eight are under way, and over one that the application made and handed in, which does not.\n\n\
         | connections | CPU µs, gathered | not | requests/s, gathered | not | p50 µs, gathered | not | p99 µs, gathered | not |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in load["gathering"].as_array().into_iter().flatten() {
        let _ = write!(out, "| {}", row["connections"]);
        for (field, places) in [
            ("cpu_us", 1),
            ("throughput", 0),
            ("p50_us", 0),
            ("p99_us", 0),
        ] {
            for which in ["with", "without"] {
                let _ = write!(out, " | {:.places$}", number(&row[which], field));
            }
        }
        out.push_str(" |\n");
    }
    out.push('\n');
}

fn in_process(out: &mut String, groups: &BTreeMap<String, BTreeMap<String, f64>>) {
    if groups.is_empty() {
        return;
    }
    out.push_str("## In process\n\nOne request at a time, without sockets but those of Redis; medians of Criterion.\n");
    for (group, times) in groups {
        let _ = writeln!(out, "\n| {group} | µs |\n|---|--:|");
        for (name, nanos) in times {
            let _ = writeln!(out, "| {name} | {:.2} |", nanos / 1e3);
        }
    }
    out.push('\n');
}

/// What it is called in the results and here, and the same of its columns.
type Table<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn grown(out: &mut String, growth: &Value) {
    out.push_str(
        "## Growth\n\nBytes are for each entry, times in microseconds for one request at a time.\n",
    );
    let tables: [Table<'_>; 3] = [
        (
            "sessions",
            "Sessions of signed-in users, ten fields of 48 bytes each",
            &[
                ("redis_session_bytes", "Redis: session, bytes"),
                ("redis_device_bytes", "Redis: list of devices, bytes"),
                ("redis_read_us", "Redis: read"),
                ("memory_bytes", "memory: all, bytes"),
                ("memory_read_us", "memory: read"),
            ],
        ),
        (
            "devices",
            "Devices of one user, in Redis",
            &[
                ("bytes", "bytes in the list"),
                ("login_us", "one more login"),
                ("list_us", "list of all"),
            ],
        ),
        (
            "revocations",
            "Revoked tokens, and the check of one that is not",
            &[
                ("redis_bytes", "Redis, bytes"),
                ("redis_check_us", "Redis: check"),
                ("replica_bytes", "replica, bytes"),
                ("replica_load_ms", "replica: load, ms"),
                ("loading_p50_us", "check while it loads, p50"),
                ("loading_p99_us", "p99"),
                ("replica_check_us", "replica: check"),
                ("memory_bytes", "memory, bytes"),
                ("memory_check_us", "memory: check"),
            ],
        ),
    ];
    for (name, title, columns) in tables {
        let titles: Vec<&str> = columns.iter().map(|(_, title)| *title).collect();
        let _ = writeln!(
            out,
            "\n{title}:\n\n| | {} |\n|--:|{}",
            titles.join(" | "),
            "--:|".repeat(columns.len())
        );
        for row in growth[name].as_array().into_iter().flatten() {
            let cells = columns.iter().map(|(field, _)| match number(row, field) {
                small if small < 10.0 => format!("{small:.2}"),
                large => format!("{large:.0}"),
            });
            let cells: Vec<String> = cells.collect();
            let _ = writeln!(
                out,
                "| {} | {} |",
                grouped(&row["count"]),
                cells.join(" | ")
            );
        }
    }
}

/// 1000000 as 1 000 000.
fn grouped(count: &Value) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 470.0;
const LINE: f64 = 26.0;
const TOP: f64 = 56.0;

/// Bars, the range of the rounds, and a mark at the target.
fn plot(load: &Value) -> String {
    let rows: Vec<(&Row, &Value)> = ROWS
        .iter()
        .filter_map(|row| Some((row, found(load, row.name)?)))
        .collect();
    let most = rows
        .iter()
        .map(|(_, row)| number(row, "high"))
        .fold(1.0, f64::max)
        .ceil();
    let x = |ratio: f64| LEFT + ratio / most * (WIDTH - LEFT - 60.0);
    let bottom = TOP + LINE * rows.len() as f64;
    let height = bottom + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" fill=\"#111\">CPU time of server and Redis per request, as a multiple of the bare handler</text>\n\
         <text x=\"12\" y=\"42\" fill=\"#555\">bar: median of the rounds · line: lowest to highest round · red mark: target</text>\n"
    );
    for tick in 0..=most as u32 {
        let at = x(tick.into());
        let colour = if tick == 1 { "#111" } else { "#ddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{tick} ×</text>",
            bottom + 18.0
        );
    }
    for (at, (row, measured)) in rows.iter().enumerate() {
        let y = TOP + LINE * at as f64;
        let middle = y + LINE / 2.0;
        let colour = match row.whose {
            Whose::Bare => "#9aa0a6",
            Whose::Ours => "#2f6fbb",
            Whose::Peers => "#d08b2c",
        };
        let (ratio, low, high) = (
            number(measured, "ratio"),
            number(measured, "low"),
            number(measured, "high"),
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#111\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
             <line x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\" stroke=\"#111\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#111\">{ratio:.2}</text>",
            LEFT - 8.0,
            middle + 4.0,
            row.label,
            y + 4.0,
            x(ratio) - LEFT,
            LINE - 8.0,
            x(low),
            x(high),
            x(high.max(row.target.map_or(0.0, |target| target.ratio))) + 6.0,
            middle + 4.0,
        );
        if let Some(target) = row.target {
            let at = x(target.ratio);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#c62828\" stroke-width=\"2.5\"/>",
                y + 1.0,
                y + LINE - 1.0
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
