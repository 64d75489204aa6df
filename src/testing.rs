//! Means for the tests of an application. They need the feature `test-util`, which no production build has.

use std::time::Duration;

use crate::{
    clock::millis,
    store::{Content, Entry, Store, StoreError},
};

/// Makes everything that is stored look `by` older, as if it had been left alone for that long: what a test calls
/// instead of waiting.
///
/// With Redis every stored moment under the store's prefixes, every score and every expiry is set back; the in-memory
/// store and the memory of this process (which session was used when) are moved ahead instead, which is the same. What
/// other processes remember is not aged. It is not atomic: let no request run meanwhile. Values of other programs under
/// the same prefixes lose lifetime and nothing else.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), portcullis::StoreError> {
/// use std::time::Duration;
/// use portcullis::{Store, cutoff::Cutoffs, testing};
///
/// let store = Store::memory();
/// let cutoff = Cutoffs::new(&store).everyone().await?;
/// testing::age_everything(&store, Duration::from_secs(3600)).await?;
/// assert!(Cutoffs::new(&store).everyone().await? >= cutoff + 3_600_000);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// When the store cannot be asked; some of it may be older then.
pub async fn age_everything(store: &Store, by: Duration) -> Result<(), StoreError> {
    store.clock().skip(by);
    if store.is_memory() {
        return Ok(());
    }
    let prefix = store.namespace().prefix();
    let older = store.entries().await?.into_iter().map(|entry| {
        let room = entry.key.strip_prefix(prefix).map(room_of);
        let room = room.unwrap_or_default().to_owned();
        aged(entry, &room, millis(by))
    });
    // One trip for all; a foreign kind of value cannot be put back, and is left alone.
    let calls: Vec<_> = older
        .filter(|entry| !matches!(entry.content, Content::Foreign(_)))
        .map(|entry| entry.put())
        .collect();
    for reply in store.trip(&calls).await? {
        reply?;
    }
    Ok(())
}

/// Hands every stored text to `change`, with the key it lies under: strings, names and values of hashes, members of sorted
/// sets. What a test calls to see what becomes of values that somebody else wrote. As little atomic as the above.
///
/// # Errors
///
/// When the store cannot be asked, or takes a value no more; some of it may be changed then.
#[doc(hidden)]
pub async fn change_everything(
    store: &Store,
    mut change: impl FnMut(&str, &mut Vec<u8>),
) -> Result<(), StoreError> {
    for mut entry in store.entries().await? {
        let mut changed = |mut text: Vec<u8>| {
            change(&entry.key, &mut text);
            text
        };
        entry.content = match entry.content {
            Content::Text(text) => Content::Text(changed(text)),
            Content::Hash(map) => {
                let pairs = map.into_iter();
                let pairs = pairs.map(|(name, value)| (changed(name), changed(value)));
                Content::Hash(pairs.collect())
            }
            Content::Sorted(map) => {
                let members = map.into_iter().map(|(member, at)| (changed(member), at));
                Content::Sorted(members.collect())
            }
            Content::Foreign(_) => continue,
        };
        for reply in store.trip(&[entry.put()]).await? {
            reply?;
        }
    }
    Ok(())
}

/// What stands before the first colon of a key.
fn room_of(rest: &str) -> &str {
    rest.split(':').next().unwrap_or_default()
}

fn aged(mut entry: Entry, room: &str, by: u64) -> Entry {
    entry.content = match entry.content {
        #[cfg(feature = "session")]
        Content::Text(raw) if room == "session" => Content::Text(crate::session::aged(&raw, by)),
        Content::Text(text) if room == "cutoff" => Content::Text(earlier(text, by)),
        // An active session: 15 digits, the moment until which it is fresh, and the rest. The mark is a moment alone.
        Content::Text(text) if room == "active" && text.len() > 15 => {
            let fresh = earlier(text[..15].to_vec(), by);
            let digits = format!("{:0>15}", String::from_utf8_lossy(&fresh));
            Content::Text([digits.as_bytes(), &text[15..]].concat())
        }
        Content::Text(text) if room == "active" => Content::Text(earlier(text, by)),
        Content::Sorted(map) => {
            let older = map
                .into_iter()
                .map(|(member, at)| (member, at.saturating_sub(by)));
            Content::Sorted(older.collect())
        }
        Content::Hash(mut map) => {
            for (name, value) in &mut map {
                age_field(room, name, value, by);
            }
            Content::Hash(map)
        }
        other => other,
    };
    // What has expired by then goes at once; 0 would mean that it never does.
    entry.expires = entry.expires.map(|at| at.saturating_sub(by).max(1));
    entry
}

/// The moments in hashes: of a refresh family by name, of a device behind the 43 characters of its session's hash.
fn age_field(room: &str, name: &[u8], value: &mut Vec<u8>, by: u64) {
    match (room, name) {
        ("refresh", b"rot" | b"abs" | b"auth") => *value = earlier(std::mem::take(value), by),
        ("devices", _) if value.len() >= 58 => {
            let auth = earlier(value[43..58].to_vec(), by);
            let auth = String::from_utf8_lossy(&auth).into_owned();
            value.splice(43..58, format!("{auth:0>15}").into_bytes());
        }
        _ => {}
    }
}

/// A moment as cutoffs are stored.
fn earlier(text: Vec<u8>, by: u64) -> Vec<u8> {
    let moment = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    moment.map_or(text, |at| at.saturating_sub(by).to_string().into_bytes())
}
