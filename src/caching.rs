//! What responses say to caches. What the application said stays, if it is as strict.

use http::{
    HeaderMap, HeaderValue,
    header::{CACHE_CONTROL, Entry, VARY},
};

/// What the layers of this crate say one after the other: said in one line, it takes no memory.
const BOTH: &str = "Sec-Fetch-Site, Origin, cookie";

/// Tells caches that the response depends on these headers of the request, unless they were told.
pub(crate) fn vary(headers: &mut HeaderMap, names: &'static str) {
    let mut told = match headers.entry(VARY) {
        // Nearly always nobody has said anything.
        Entry::Vacant(untold) => {
            untold.insert(HeaderValue::from_static(names));
            return;
        }
        Entry::Occupied(told) => told,
    };
    let listed = |name: &str| {
        words(told.iter()).any(|told| told == b"*" || told.eq_ignore_ascii_case(name.as_bytes()))
    };
    if names.split(", ").all(listed) {
        return;
    }
    let before = BOTH
        .strip_suffix(names)
        .and_then(|rest| rest.strip_suffix(", "));
    if before.is_some_and(|before| told.iter().eq([before])) {
        told.insert(HeaderValue::from_static(BOTH));
    } else {
        told.append(HeaderValue::from_static(names));
    }
}

/// Tells caches to keep nothing, unless the response has one of these directives.
pub(crate) fn forbid_storing(headers: &mut HeaderMap, as_strict: &[&str]) {
    let is_strict = |told: &[u8]| {
        as_strict
            .iter()
            .any(|name| told.eq_ignore_ascii_case(name.as_bytes()))
    };
    let told = words(headers.get_all(CACHE_CONTROL).iter()).any(is_strict);
    if !told {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// What is between the commas.
fn words<'h>(lines: impl Iterator<Item = &'h HeaderValue>) -> impl Iterator<Item = &'h [u8]> {
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: &HeaderMap, name: http::HeaderName) -> Vec<&str> {
        let lines = headers.get_all(name).iter();
        lines.map(|line| line.to_str().expect("text")).collect()
    }

    #[test]
    fn caches_are_told_once_and_what_others_told_them_stays() {
        let told = |before: &[&'static str], names: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in before {
                headers.append(VARY, HeaderValue::from_static(line));
            }
            names.iter().for_each(|names| vary(&mut headers, names));
            let lines = lines(&headers, VARY).into_iter();
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let site = "Sec-Fetch-Site, Origin";
        assert_eq!(told(&[], &["cookie"]), ["cookie"]);
        assert_eq!(told(&[], &[site, "cookie", site, "cookie"]), [BOTH]);
        assert_eq!(told(&[], &["cookie", site]), ["cookie", site]);
        assert_eq!(told(&["Cookie"], &["cookie"]), ["Cookie"]);
        assert_eq!(told(&["*"], &["cookie", site]), ["*"]);
        assert_eq!(told(&["accept"], &["cookie"]), ["accept", "cookie"]);
        // Only what is there alone is replaced.
        assert_eq!(
            told(&[site, "accept"], &["cookie"]),
            [site, "accept", "cookie"]
        );
        assert_eq!(
            told(&["a, cookie", "origin"], &[site]),
            ["a, cookie", "origin", site]
        );
    }

    #[test]
    fn what_is_as_strict_stays() {
        let forbidden = |before: &[&'static str], as_strict: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in before {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
            }
            forbid_storing(&mut headers, as_strict);
            lines(&headers, CACHE_CONTROL).join("; ")
        };
        assert_eq!(forbidden(&[], &["no-store"]), "no-store");
        assert_eq!(
            forbidden(&["max-age=60", "public"], &["no-store"]),
            "no-store"
        );
        assert_eq!(
            forbidden(&["max-age=0, No-Store"], &["no-store"]),
            "max-age=0, No-Store"
        );
        assert_eq!(forbidden(&["private"], &["no-store"]), "no-store");
        assert_eq!(
            forbidden(&["max-age=9", "PRIVATE"], &["no-store", "private"]),
            "max-age=9; PRIVATE"
        );
    }
}
