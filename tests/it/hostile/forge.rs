//! Texts in which single bytes stand for credentials: the same input means the same however random these are, and a
//! fuzzer that moves such a byte moves a whole credential.
//!
//! `0x01..=0x08` is a credential as it was handed out. `0x11..=0x18` is one with a change: the three bytes behind it say
//! where, which kind of change, and with which byte.

/// The credentials of one service, in the order of their bytes.
pub type Credentials = [String];

/// The text with its credentials put in.
pub fn expand(text: &[u8], credentials: &Credentials) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    let named = |number: u8| credentials.get(usize::from(number)).map(String::as_bytes);
    while let Some(byte) = bytes.next() {
        match byte {
            0x01..=0x08 => out.extend_from_slice(named(byte - 0x01).unwrap_or_default()),
            0x11..=0x18 => {
                let mut next = || bytes.next().unwrap_or_default();
                let change = [next(), next(), next()];
                out.extend(changed(named(byte - 0x11).unwrap_or_default(), change));
            }
            other => out.push(other),
        }
    }
    out
}

/// One byte set, removed, added or doubled, a bit turned, or the rest cut off. Two of the changes reach far into a long
/// text, the others its first 256 bytes or its last.
pub fn changed(text: &[u8], [at, kind, byte]: [u8; 3]) -> Vec<u8> {
    let mut out = text.to_vec();
    if out.is_empty() {
        return out;
    }
    let far = usize::from(at) * out.len() / 256;
    let at = match kind & 0x30 {
        0x00 => usize::from(at) % out.len(),
        0x10 => out.len() - 1 - usize::from(at) % out.len(),
        _ => far,
    };
    match kind % 8 {
        0 => out[at] = byte,
        1 => drop(out.remove(at)),
        2 => out.insert(at, byte),
        3 => out.insert(at, out[at]),
        4 => out[at] ^= 1 << (byte % 8),
        5 => out.truncate(at),
        6 => drop(out.drain(..at)),
        _ => out.push(byte),
    }
    out
}

/// Whether a text is in another, as it is or behind percent signs and JSON's escapes.
pub fn carries(text: &[u8], credential: &str) -> bool {
    let contains = |text: &[u8]| {
        let windows = &mut text.windows(credential.len());
        windows.any(|window| window == credential.as_bytes())
    };
    contains(text) || contains(&plain(text))
}

/// Without percent encoding and `\u00xx`.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let (taken, byte) = match rest {
            [b'%', high, low, ..] => (3, hex(*high, *low)),
            [b'\\', b'u', b'0', b'0', high, low, ..] => (6, hex(*high, *low)),
            [b'\\', next, ..] => (2, Some(*next)),
            _ => (1, Some(*first)),
        };
        out.push(byte.unwrap_or(*first));
        rest = &rest[byte.map_or(1, |_| taken)..];
    }
    out
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}
