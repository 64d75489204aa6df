//! The house rules that a program can check, held over the sources as they are, however many rooms there are yet.
//!
//! A rule reads the code without comments and without everything from the first `#[cfg(test)]` **module** on.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Who may import whom inside the crate: (room, what its `use crate::` may name). A room is a folder of `src` or a
/// single file; [`LEAVES`] may be named by everybody. `lib` re-exports what it likes.
const EDGES: &[(&str, &[&str])] = &[
    // An outage converts into the refusal that it is.
    ("store", &["refuse"]),
    ("refuse", &[]),
    ("near", &["store"]),
    ("gate", &["refuse"]),
    // Decides from the head of a request alone: it asks nobody.
    ("peer", &["gate", "refuse"]),
    ("cutoff", &["store", "near"]),
    // The owner's "all" and "others" raise the user's cutoff in the same step.
    ("device", &["store", "near", "cutoff"]),
    (
        "session",
        // A session can be bound to the address of its client, as `peer` found it out.
        &[
            "gate", "refuse", "store", "near", "cutoff", "device", "peer",
        ],
    ),
    (
        "jwt",
        &["gate", "refuse", "store", "near", "cutoff", "device"],
    ),
    (
        "blacklist",
        &["gate", "refuse", "store", "near", "cutoff", "device", "jwt"],
    ),
    (
        "csrf",
        &[
            "gate", "refuse", "store", "near", "cutoff", "device", "session",
        ],
    ),
    (
        "registry",
        &[
            "gate",
            "refuse",
            "store",
            "near",
            "cutoff",
            "device",
            "jwt",
            "blacklist",
        ],
    ),
    (
        "refresh",
        &[
            "gate",
            "refuse",
            "store",
            "near",
            "cutoff",
            "device",
            "jwt",
            "blacklist",
            "registry",
        ],
    ),
    // Speaks OAuth over what the others decide.
    (
        "endpoint",
        &["refuse", "store", "device", "jwt", "blacklist", "refresh"],
    ),
    (
        "oauth",
        &[
            "gate",
            "refuse",
            "store",
            "near",
            "cutoff",
            "device",
            "session",
            "jwt",
            "blacklist",
            "registry",
        ],
    ),
    ("interop", &["store", "session"]),
    // For tests alone: it knows what each room stores.
    ("testing", &["store", "session", "cutoff", "device"]),
];

/// Files that import nothing of the crate but one another.
const LEAVES: &[&str] = &[
    "keyring", "cookie", "caching", "clock", "secret", "error", "trace", "metrics", "recent",
    "breaker",
];

/// Names the crate as a user of it would: items at its root, and what is in its public rooms.
const PUBLIC_ONLY: &[&str] = &["frameworks"];
const PUBLIC_ROOMS: &[&str] = &[
    "session",
    "jwt",
    "blacklist",
    "csrf",
    "cutoff",
    "store",
    "refresh",
    "registry",
    "endpoint",
];

/// Where another crate's name may stand.
const WORDS: &[(&str, &[&str])] = &[
    ("redis::", &["store", "near"]),
    ("sqlx::", &["registry"]),
    ("jsonwebtoken::", &["jwt", "refresh"]),
    ("axum_core::", &["frameworks", "refuse"]),
    ("tonic::", &["frameworks", "refuse", "gate"]),
];

/// The plumbing exists once, in `gate`, except here: a form's token is in the body, and gates see no bodies.
const OWN_PLUMBING: &[&str] = &["csrf/form/reader.rs"];

const LONGEST_FILE: usize = 400;

/// One file of `src`, without its tests.
struct Source {
    /// Relative to `src`, for messages.
    name: String,
    room: String,
    code: String,
    lines: usize,
}

/// The rules of one source; each finding is one line of the report.
type Rule = fn(&Source) -> Vec<String>;

const RULES: &[Rule] = &[edges, words, length, forbidden];

#[test]
fn the_sources_keep_the_house_rules() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(!sources.is_empty());
    let mut report = String::new();
    for source in &sources {
        for finding in RULES.iter().flat_map(|rule| rule(source)) {
            writeln!(report, "src/{}: {finding}", source.name).unwrap();
        }
    }
    for finding in once_each(&sources) {
        writeln!(report, "{finding}").unwrap();
    }
    assert!(report.is_empty(), "\n{report}");
}

fn edges(source: &Source) -> Vec<String> {
    let foreign = |name: &String| *name != source.room && !may_import(&source.room, name);
    let finding = |name| format!("{} must not import {name}", source.room);
    imports(&source.code)
        .into_iter()
        .filter(foreign)
        .map(finding)
        .collect()
}

fn may_import(room: &str, name: &str) -> bool {
    if room == "lib" || LEAVES.contains(&name) {
        return true;
    }
    if PUBLIC_ONLY.contains(&room) {
        // Items at the root begin with a capital letter; rooms do not.
        return name.starts_with(char::is_uppercase) || PUBLIC_ROOMS.contains(&name);
    }
    let allowed = EDGES.iter().find(|(from, _)| *from == room);
    allowed.is_some_and(|(_, to)| to.contains(&name))
}

fn words(source: &Source) -> Vec<String> {
    let misplaced = |(word, rooms): &&(&str, &[&str])| {
        source.room != "lib"
            && !rooms.contains(&source.room.as_str())
            && names_crate(&source.code, word)
    };
    let finding = |(word, rooms): &(&str, &[&str])| format!("{word} belongs in {rooms:?}");
    WORDS.iter().filter(misplaced).map(finding).collect()
}

fn length(source: &Source) -> Vec<String> {
    let long = source.lines > LONGEST_FILE;
    long.then(|| format!("{} lines before the tests", source.lines))
        .into_iter()
        .collect()
}

fn forbidden(source: &Source) -> Vec<String> {
    let phrases = [".unwrap()", "todo!", "unimplemented!", "dbg!"];
    let found = phrases
        .into_iter()
        .filter(|phrase| source.code.contains(phrase));
    found.map(|phrase| format!("contains {phrase}")).collect()
}

/// The plumbing exists once: more than one such `impl` in the crate is a finding.
fn once_each(sources: &[Source]) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources {
        if OWN_PLUMBING.contains(&source.name.as_str()) {
            continue;
        }
        for line in impl_heads(&source.code) {
            for tail in ["Service<", "Future for "] {
                if implements(&line, tail) {
                    found.entry(tail).or_default().push(&source.name);
                }
            }
        }
    }
    let twice = found.into_iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(what, places)| format!("impl … {what} more than once: {places:?}"))
        .collect()
}

/// The rooms and items that follow `crate::`, also within braces: `use crate::{store::Store, error::{A, B}}`.
fn imports(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let inside_name =
            code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if inside_name {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_heads(group)),
            None => names.push(identifier(rest)),
        }
    }
    names
}

/// The first identifiers at the top level of a brace group.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut at_head = true;
    let mut names = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && depth == 0 && !c.is_whitespace() => {
                names.push(identifier(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// `redis::` as a path of that crate: not `self::redis::`, `crate::store::redis::` or `my_redis::`.
fn names_crate(code: &str, word: &str) -> bool {
    let standing_alone = |at: usize| {
        let before = code[..at].trim_end_matches("::");
        let is_absolute =
            before.len() + 2 == at && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        is_absolute || !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    };
    code.match_indices(word).any(|(at, _)| standing_alone(at))
}

/// From each `impl` at the start of a line to its brace, on one line.
fn impl_heads(code: &str) -> Vec<String> {
    let starts = code.match_indices("impl").filter(|(at, _)| {
        let indent = code[..*at].rsplit('\n').next().unwrap_or_default();
        indent.trim().is_empty() || indent.trim() == "unsafe"
    });
    let head = |(at, _): (usize, &str)| code[at..].split('{').next().unwrap_or_default().to_owned();
    starts
        .map(head)
        .map(|head| head.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// `impl<…> Service<…> for T`, also with a path before the trait; not `where S: Service<…>`.
fn implements(head: &str, tail: &str) -> bool {
    let Some((before, _)) = head.split_once(" for ") else {
        return false;
    };
    // The trait is what follows the generic parameters, which end at the first `>` that closes the first `<`.
    let mut depth = 0_i32;
    let after_impl = before
        .trim_start_matches("unsafe ")
        .trim_start_matches("impl");
    let end = if after_impl.starts_with('<') {
        after_impl.find(|c| {
            depth += i32::from(c == '<') - i32::from(c == '>');
            depth == 0
        })
    } else {
        None
    };
    let named = after_impl[end.map_or(0, |end| end + 1)..].trim();
    let path = named.split('<').next().unwrap_or_default();
    let name = path.rsplit("::").next().unwrap_or_default();
    name == tail.trim_end_matches("for ").trim_end_matches('<').trim()
}

fn sources(src: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    walk(src, &mut files);
    files.sort();
    let read = |file: &PathBuf| source(src, file);
    files.iter().filter_map(read).collect()
}

/// `None` for a file that is nothing but tests.
fn source(src: &Path, file: &Path) -> Option<Source> {
    let name = file
        .strip_prefix(src)
        .expect("found below it")
        .to_string_lossy()
        .into_owned();
    if name.ends_with("tests.rs") || name.contains("tests/") {
        return None;
    }
    let room = name
        .split('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs")
        .to_owned();
    let text = fs::read_to_string(file).expect("a source is readable");
    let (code, lines) = without_tests_and_comments(&text);
    Some(Source {
        name,
        room,
        code,
        lines,
    })
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The code, and how many lines of the file stand before its tests.
fn without_tests_and_comments(text: &str) -> (String, usize) {
    let lines: Vec<_> = text.lines().collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ");
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    let code: Vec<_> = lines[..end].iter().map(|line| uncommented(line)).collect();
    (code.join("\n"), end)
}

/// A comment begins a line or follows a space; the `//` of an address in a string does neither.
fn uncommented(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.split(" //").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(room: &str, code: &str) -> Source {
        let (code, lines) = without_tests_and_comments(code);
        Source {
            name: format!("{room}/mod.rs"),
            room: room.to_owned(),
            code,
            lines,
        }
    }

    fn findings(room: &str, code: &str) -> Vec<String> {
        let source = piece(room, code);
        RULES.iter().flat_map(|rule| rule(&source)).collect()
    }

    #[test]
    fn imports_against_the_table_are_found() {
        assert_eq!(findings("store", "use crate::session::Session;").len(), 1);
        assert_eq!(
            findings(
                "gate",
                "use crate::{refuse::{A, B}, clock::Clock,\n  store::Store};"
            )
            .len(),
            1
        );
        assert_eq!(findings("session", "use crate::jwt::Claims;").len(), 1);
        assert_eq!(findings("session", "fn f(x: crate::csrf::X) {}").len(), 1);
        assert_eq!(findings("clock", "use crate::store::Store;").len(), 1);
        assert_eq!(
            findings("frameworks", "use crate::refuse::Protocol;").len(),
            1
        );
        assert!(findings("frameworks", "use crate::{session::Session, Rejection};").is_empty());
        assert!(
            findings(
                "csrf",
                "use crate::{session::Session, gate::Step, secret::Secret};"
            )
            .is_empty()
        );
        assert!(
            findings(
                "session",
                "use crate::session::id::Id; use super::record; use $crate::jwt::X;"
            )
            .is_empty()
        );
        assert!(
            findings(
                "session",
                "// use crate::jwt::Claims;\n#[cfg(test)]\nmod tests { use crate::jwt::X; }"
            )
            .is_empty()
        );
    }

    #[test]
    fn foreign_crates_outside_their_rooms_are_found() {
        assert_eq!(findings("session", "use redis::Value;").len(), 1);
        assert_eq!(findings("session", "use ::redis::Value;").len(), 1);
        assert_eq!(findings("csrf", "let x: tonic::Status;").len(), 1);
        assert!(
            findings(
                "session",
                "use crate::store::redis::X; my_redis::x(); self::redis::y()"
            )
            .is_empty()
        );
        assert!(findings("store", "use redis::Value;").is_empty());
    }

    #[test]
    fn forbidden_phrases_and_long_files_are_found() {
        assert_eq!(findings("session", "a.unwrap(); dbg!(b); todo!()").len(), 3);
        assert!(findings("session", "a.unwrap_or(b); // dbg!(b)\n/// a.unwrap()").is_empty());
        assert!(findings("session", "#[cfg(test)]\nmod tests { a.unwrap() }").is_empty());
        assert_eq!(findings("session", "f(\"a://b\").unwrap()").len(), 1);
        assert_eq!(findings("session", &"\n".repeat(401)).len(), 1);
        assert!(
            findings(
                "session",
                &format!("{}#[cfg(test)]\nmod tests {{}}{0}", "\n".repeat(400))
            )
            .is_empty()
        );
    }

    #[test]
    fn a_second_service_or_future_is_found() {
        let service =
            "impl<S, B> Service<Request<B>> for Gated<S>\nwhere\n    S: Service<Request<B>>,\n{}";
        let future = "impl<F: Future<Output = ()>> std::future::Future for ResponseFuture<F> {}";
        let neither = "impl<S: Service<B>> Layer<S> for X {}\nimpl<S> X<S> where S: Service<B> {}\nfn f() -> impl Future<Output = ()> {}";
        let once = [
            piece("gate", service),
            piece("gate", future),
            piece("session", neither),
        ];
        assert_eq!(once_each(&once), Vec::<String>::new());
        let twice = [
            piece("gate", service),
            piece("csrf", service),
            piece("gate", future),
            piece("jwt", future),
        ];
        assert_eq!(once_each(&twice).len(), 2);
    }
}
