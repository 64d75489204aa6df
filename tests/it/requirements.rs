//! The map from requirements to tests, `tests/requirements.md`, against the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const COUNT: usize = 132;
const STATES: [&str; 4] = ["covered", "partly", "not yet", "docs"];

/// One line of the map.
struct Row {
    number: usize,
    state: String,
    tests: BTreeSet<String>,
    note: String,
}

fn rows(map: &str) -> Vec<Row> {
    let lines = map.lines().filter(|line| line.starts_with("| R"));
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [number, _, state, tests, note] = cells[..] else {
                panic!("not five cells: {line}")
            };
            Row {
                number: number[1..].parse().unwrap_or_else(|_| panic!("{line}")),
                state: state.to_owned(),
                tests: quoted(tests),
                note: note.to_owned(),
            }
        })
        .collect()
}

fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// What is wrong with the map, given each test and the requirements that it says it is about.
fn findings(map: &str, tests: &BTreeMap<String, BTreeSet<usize>>) -> Vec<String> {
    let rows = rows(map);
    let mut findings = Vec::new();
    for number in 1..=COUNT {
        let times = rows.iter().filter(|row| row.number == number).count();
        if times != 1 {
            findings.push(format!("R{number} is there {times} times"));
        }
    }
    for Row {
        number,
        state,
        tests: named,
        note,
    } in &rows
    {
        if !(1..=COUNT).contains(number) {
            findings.push(format!("R{number} is no requirement"));
        }
        if !STATES.contains(&state.as_str()) {
            findings.push(format!("R{number}: {state:?} is no state"));
        }
        match state.as_str() {
            "covered" | "partly" if named.is_empty() => {
                findings.push(format!("R{number} is {state} by no test"));
            }
            "not yet" if !named.is_empty() => {
                findings.push(format!("R{number} is not yet covered, and yet by a test"));
            }
            _ => {}
        }
        if state != "covered" && note.is_empty() {
            findings.push(format!(
                "R{number} is {state}, and the note does not say why"
            ));
        }
        let unknown = named.iter().filter(|name| !tests.contains_key(*name));
        findings.extend(unknown.map(|name| format!("R{number}: there is no test {name}")));
    }
    for (test, claimed) in tests {
        let in_row = |number: &usize| {
            rows.iter()
                .any(|row| row.number == *number && row.tests.contains(test))
        };
        let missing = claimed.iter().filter(|number| !in_row(number));
        findings.extend(
            missing.map(|number| format!("{test} is about R{number}, which does not name it")),
        );
    }
    findings
}

/// Every test in a source, with the requirements in its name (`r83_r126_..`) and in the comment above it (`R83`).
fn tests_in(source: &str) -> Vec<(String, BTreeSet<usize>)> {
    let mut found = Vec::new();
    let mut comment = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            let words = text.split(|c: char| !c.is_alphanumeric());
            comment.extend(words.filter_map(|word| word.strip_prefix('R')?.parse::<usize>().ok()));
        } else if line.starts_with("//") {
            // What the test fails at stands between its comment and its attribute.
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else {
            let head = line.trim_start_matches("pub ").trim_start_matches("async ");
            if let Some(name) = head
                .strip_prefix("fn ")
                .and_then(|rest| rest.split(['(', '<']).next())
                .filter(|_| is_test)
            {
                let mut claimed = std::mem::take(&mut comment);
                let numbers = name
                    .split('_')
                    .map_while(|part| part.strip_prefix('r')?.parse::<usize>().ok());
                claimed.extend(numbers);
                found.push((name.to_owned(), claimed));
            }
            comment.clear();
            is_test = false;
        }
    }
    found
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn all_tests() -> BTreeMap<String, BTreeSet<usize>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests/it"), &mut files);
    // This one is about tests, and names them in texts.
    files.retain(|file| !file.ends_with("it/requirements.rs"));
    let mut tests = BTreeMap::<_, BTreeSet<_>>::new();
    for file in files {
        let source = fs::read_to_string(file).expect("a source is readable");
        for (name, claimed) in tests_in(&source) {
            tests.entry(name).or_default().extend(claimed);
        }
    }
    tests
}

#[test]
fn the_map_of_requirements_is_true() {
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements.md");
    let map = fs::read_to_string(map).expect("the map is there");
    let findings = findings(&map, &all_tests());
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_lie_of_a_map_is_found() {
    let source = "/// R7 and R2.\n// Fails if: R3.\n#[tokio::test(flavor = \"x\")]\nasync fn r1_seven() {}\nfn helper() {}\n/// R9\nfn r9_none() {}";
    let tests: BTreeMap<_, _> = tests_in(source).into_iter().collect();
    assert_eq!(tests.keys().collect::<Vec<_>>(), ["r1_seven"]);
    let map = |changed: &[(usize, &str)]| {
        let row = |number: usize| {
            let row = changed.iter().find(|(other, _)| *other == number);
            let own = if [1, 2, 7].contains(&number) {
                "covered | `r1_seven` | "
            } else {
                "not yet | | why"
            };
            format!("| R{number} | x | {} |\n", row.map_or(own, |(_, row)| row))
        };
        (1..=COUNT).map(row).collect::<String>()
    };
    assert_eq!(findings(&map(&[]), &tests), Vec::<String>::new());
    for (row, count) in [
        ((3, "covered | | "), 1),
        ((3, "covered | `helper` | "), 1),
        ((3, "mostly | | why"), 1),
        ((3, "not yet | `r1_seven` | why"), 1),
        ((3, "not yet | | "), 1),
        ((3, "partly | `r1_seven` | "), 1),
        ((7, "docs | | where"), 1),
    ] {
        let found = findings(&map(&[row]), &tests);
        assert_eq!(found.len(), count, "{row:?}: {found:?}");
    }
    let twice = map(&[]) + "| R3 | x | docs | | where |\n| R133 | x | docs | | where |\n";
    assert_eq!(findings(&twice, &tests).len(), 2);
}
