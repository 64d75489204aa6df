//! The section about endpoints in the README: its code is what runs here, and its lines do what it says.

use std::{fs, process::Command};

use portcullis::{KeyRing, Store};

use super::{SECRET, serve};
use crate::means::redis::RedisServer;

#[rustfmt::skip]
mod routes {
    include!("readme_routes.rs");

    pub(super) fn of_the_readme(store: &Store, keys: &KeyRing) -> Router {
        tokens(store, keys).unwrap()
    }
}

const README: &str = include_str!("../../../README.md");

/// The first block of this language in the section.
fn block(language: &str) -> &'static str {
    let (_, section) = README
        .split_once("\n## Token endpoints\n")
        .expect("the section");
    let (_, block) = section
        .split_once(&format!("\n```{language}\n"))
        .expect("a block");
    block.split_once("```\n").expect("its end").0
}

/// Fails if: a line has a wrong path, parameter or quote, an answer another status, or the code of the README is not what
/// runs here.
#[tokio::test]
async fn the_lines_of_the_readme_do_what_it_says() {
    assert_eq!(block("rust"), include_str!("readme_routes.rs"));
    let redis = RedisServer::start().await;
    let stores = [Store::memory(), Store::connect(&redis.url()).await.unwrap()];
    for (at, store) in stores.iter().enumerate() {
        let url = serve(routes::of_the_readme(store, &KeyRing::new(SECRET).unwrap())).await;
        let script = block("sh").replace("http://127.0.0.1:3000", &url);
        assert!(script.contains(&url));
        // The pair is shown as well; the newline of the format ends what is shown before the next answer.
        let script = script
            .replace("-o pair", "-o pair; cat pair; echo")
            .replace("curl", "curl -sS -w '\\n'");
        let dir = redis.dir().join(at.to_string());
        fs::create_dir(&dir).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-ec", &script]).current_dir(dir);
        let output = tokio::task::spawn_blocking(move || shell.output());
        let output = output.await.unwrap().expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        let text = String::from_utf8_lossy(&output.stdout);
        let statuses = text
            .lines()
            .filter_map(|line| line.strip_prefix("HTTP/1.1 "));
        let statuses: Vec<_> = statuses.map(|line| &line[..3]).collect();
        let expected = "200 200 200 200 200 200 204 400 200 200 415 204 200";
        assert_eq!(statuses.join(" "), expected, "{text}");
        for (part, times) in [
            (r#""active":true"#, 2),
            (r#""token_type":"Bearer""#, 5),
            (r#"{"active":false}"#, 1),
            (r#"{"error":"invalid_grant"}"#, 1),
            ("set-cookie: __Host-refresh=", 3),
            (r#"{"keys":[{"#, 1),
            (r#""scope":"read""#, 6),
        ] {
            assert_eq!(text.matches(part).count(), times, "{part} in {text}");
        }
    }
}
