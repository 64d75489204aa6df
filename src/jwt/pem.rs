//! PEM (RFC 7468) and just enough DER to open a PKCS#8 envelope.
//!
//! Whether the content is a key, and of which kind, is decided by the cryptographic library that uses it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The label and the content of the only block of `text`; `None` for none, several or a damaged one.
pub(super) fn decode(text: &[u8]) -> Option<(&str, Vec<u8>)> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (label, rest) = text.strip_prefix(BEGIN)?.split_once(DASHES)?;
    let (body, tail) = rest.split_once(END)?;
    if tail.strip_suffix(DASHES)? != label {
        return None;
    }
    let body: String = body.split_ascii_whitespace().collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// Whether somebody passes a key file where a secret is expected: the classic confusion of algorithms, made at home.
pub(super) fn looks_like_a_key_file(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    [BEGIN.as_bytes(), b"ssh-", b"{"]
        .iter()
        .any(|prefix| start.starts_with(prefix))
}

/// The PKCS#1 key inside a PKCS#8 envelope of an RSA key.
pub(super) fn rsa_from_pkcs8(der: &[u8]) -> Option<&[u8]> {
    const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let (fields, _) = element(der, 0x30)?;
    let (_version, fields) = element(fields, 0x02)?;
    let (algorithm, fields) = element(fields, 0x30)?;
    let (oid, _) = element(algorithm, 0x06)?;
    (oid == RSA_ENCRYPTION).then_some(element(fields, 0x04)?.0)
}

/// One element of the expected type: its content and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Three bytes of length are 16 MiB: no key is longer.
        let count = usize::from(first & 0x7f);
        if !(1..=3).contains(&count) || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (
            digits
                .iter()
                .fold(0, |sum, &digit| sum << 8 | usize::from(digit)),
            rest,
        )
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whole_block_is_read_and_nothing_else() {
        let block = "-----BEGIN PUBLIC KEY-----\nAAEC\r\nAwQ=\n-----END PUBLIC KEY-----\n";
        assert_eq!(
            decode(block.as_bytes()),
            Some(("PUBLIC KEY", vec![0, 1, 2, 3, 4]))
        );
        assert_eq!(
            decode(format!("  \n{block}").as_bytes()),
            Some(("PUBLIC KEY", vec![0, 1, 2, 3, 4]))
        );
        for bad in [
            String::new(),
            format!("{block}{block}"),
            block.replace("END PUBLIC", "END PRIVATE"),
            block.replace("AAEC", "AA*C"),
            block.replace("-----END PUBLIC KEY-----", ""),
        ] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn der_lengths_never_reach_past_the_input() {
        assert_eq!(
            element(&[0x04, 2, 7, 8, 9], 0x04),
            Some((&[7, 8][..], &[9][..]))
        );
        assert_eq!(
            element(&[0x04, 0x81, 2, 7, 8], 0x04),
            Some((&[7, 8][..], &[][..]))
        );
        for bad in [
            &[][..],
            &[4],
            &[4, 3, 1],
            &[4, 0x80, 1],
            &[4, 0x84, 0, 0, 0, 1, 1],
            &[4, 0x82, 0xff, 0xff, 1],
            &[4, 0x83],
        ] {
            assert_eq!(element(bad, 0x04), None, "{bad:?}");
        }
    }
}
