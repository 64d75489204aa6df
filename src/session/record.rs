//! The stored form of a session: one string.
//!
//! A header of fixed width, so that recording a use overwrites 15 bytes in place, then netstrings (`length:bytes`):
//! tenant, user, sid, and after them pairs of field name and JSON text. Scripts and this file read and write the same
//! form; `prelude.lua` is the other half.
//!
//! ```text
//! offset  0   1    11       26    41       56    71        86          87     95
//!         '1' rev  created  auth  touched  idle  deadline  persistent  check  netstrings
//! ```
//!
//! Times are milliseconds of the store's clock; `auth` is 0 for nobody, `idle` is 0 without an idle timeout. `check` is
//! the beginning of the hash under which the record is stored: a reply that belongs to another question is noticed.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::store::{Fault, StoreError, StoreErrorKind};

const VERSION: u8 = b'1';
const FIXED: usize = 95;
/// The last that has ten digits.
pub(super) const LAST_REVISION: u64 = 9_999_999_999;
pub(super) const TOUCHED: usize = 41;
pub(super) const CHECK: usize = 8;
/// What begins with this byte is no record but the mark of a session that moved to another id; see `prelude.lua`.
pub(super) const MOVED: u8 = b'>';

/// A record as it was read: the header decoded, the fields left where they are until somebody asks. All its parts share
/// the bytes that were read.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) header: Header,
    raw: Bytes,
    fields_at: usize,
}

/// Everything but the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) rev: u64,
    pub(super) created: u64,
    pub(super) auth: u64,
    pub(super) touched: u64,
    pub(super) idle: u64,
    pub(super) deadline: u64,
    pub(super) persistent: bool,
    pub(super) check: [u8; CHECK],
    pub(super) tenant: Bytes,
    pub(super) user: Bytes,
    pub(super) sid: Bytes,
}

/// Field names and JSON texts, in their order.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Header {
    /// When the session ends unless it is used before.
    pub(super) fn expiry(&self) -> u64 {
        match self.idle {
            0 => self.deadline,
            idle => self.deadline.min(self.touched.saturating_add(idle)),
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.user.is_empty()
    }

    /// Whether a cutoff ended it: everything authenticated at or before the cutoff, and nothing of nobody.
    pub(super) fn is_cut(&self, cutoff: Option<u64>) -> bool {
        self.auth > 0 && cutoff.is_some_and(|cutoff| self.auth <= cutoff)
    }
}

/// When the session of a stored record ends, however much it is used.
#[cfg(feature = "csrf")]
pub(crate) fn deadline_of(raw: &[u8]) -> Option<u64> {
    Record::parse(raw.to_vec()).map(|record| record.header.deadline)
}

impl Record {
    /// Reads a stored record; `None` is one that this version of the crate cannot read.
    pub(super) fn parse(raw: impl Into<Bytes>) -> Option<Self> {
        let raw = raw.into();
        if raw.len() < FIXED || raw[0] != VERSION || !matches!(raw[86], b'p' | b'-') {
            return None;
        }
        let mut check = [0; CHECK];
        check.copy_from_slice(&raw[FIXED - CHECK..FIXED]);
        let (tenant, at) = netstring(&raw, FIXED)?;
        let (user, at) = netstring(&raw, at)?;
        let (sid, fields_at) = netstring(&raw, at)?;
        let header = Header {
            rev: number(&raw[1..11])?,
            created: number(&raw[11..26])?,
            auth: number(&raw[26..41])?,
            touched: number(&raw[TOUCHED..56])?,
            idle: number(&raw[56..71])?,
            deadline: number(&raw[71..86])?,
            persistent: raw[86] == b'p',
            check,
            tenant: raw.slice_ref(tenant),
            user: raw.slice_ref(user),
            sid: raw.slice_ref(sid),
        };
        Some(Self {
            header,
            raw,
            fields_at,
        })
    }

    /// As [`parse`](Self::parse), for what a store answered to a question about the session whose hash begins so.
    pub(super) fn of(raw: impl Into<Bytes>, check: [u8; CHECK]) -> Result<Self, StoreError> {
        let record = Self::parse(raw)
            .ok_or_else(|| corrupt("the stored session is not of a version this crate can read"))?;
        if check != record.header.check {
            return Err(corrupt("the stored session belongs to another id"));
        }
        Ok(record)
    }

    pub(super) fn render(header: &Header, fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let persistent = if header.persistent { 'p' } else { '-' };
        let mut raw = format!(
            "1{:010}{:015}{:015}{:015}{:015}{:015}{persistent}",
            header.rev, header.created, header.auth, header.touched, header.idle, header.deadline,
        )
        .into_bytes();
        raw.extend_from_slice(&header.check);
        let words = [&*header.tenant, &*header.user, &*header.sid];
        let pairs = fields.iter().flat_map(|(name, value)| [&**name, &**value]);
        for word in words.into_iter().chain(pairs) {
            push_netstring(&mut raw, word);
        }
        raw
    }

    /// The fields in their order; ends early at what cannot be read.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut at = self.fields_at;
        std::iter::from_fn(move || {
            let (name, after) = netstring(&self.raw, at)?;
            let (value, after) = netstring(&self.raw, after)?;
            at = after;
            Some((name, value))
        })
    }

    /// All fields for the Rust half of a script, or a fault if one cannot be read or is there twice.
    pub(super) fn all_fields(&self) -> Result<Fields, Fault> {
        let fields: Fields = self
            .fields()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        let rendered = Self::render(&self.header, &fields);
        let names: BTreeSet<_> = fields.iter().map(|(name, _)| name).collect();
        if rendered.len() == self.raw.len() && names.len() == fields.len() {
            Ok(fields)
        } else {
            Err(Fault::Corrupt)
        }
    }

    /// The JSON text of one field.
    pub(super) fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields()
            .find_map(|(found, value)| (found == name.as_bytes()).then_some(value))
    }

    /// The same record, used at `now`.
    pub(super) fn touch(&mut self, now: u64) {
        self.header.touched = now;
        let mut raw = Vec::from(std::mem::take(&mut self.raw));
        raw[TOUCHED..56].copy_from_slice(format!("{now:015}").as_bytes());
        self.raw = raw.into();
    }

    /// The same record, made and used this much earlier.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn age(&mut self, by: u64) {
        let header = &mut self.header;
        header.created = header.created.saturating_sub(by);
        header.touched = header.touched.saturating_sub(by);
        header.deadline = header.deadline.saturating_sub(by);
        // 0 stands for nobody.
        if header.auth > 0 {
            header.auth = header.auth.saturating_sub(by).max(1);
        }
        let mut raw = Self::render(&self.header, &[]);
        raw.extend_from_slice(&self.raw[self.fields_at..]);
        self.raw = raw.into();
    }

    /// The record as it is stored, and where its fields begin.
    pub(super) fn parts(&self) -> (&[u8], usize) {
        (&self.raw, self.fields_at)
    }

    pub(super) fn into_raw(self) -> Vec<u8> {
        self.raw.into()
    }
}

/// Whether it may be a record, and is no mark of one that ended or moved.
pub(super) fn is_record(raw: &[u8]) -> bool {
    raw.first() == Some(&VERSION)
}

fn corrupt(why: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt).caused_by(why)
}

/// So many always fit, whatever bytes they are.
const MOST_DIGITS: usize = 15;

pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.len() > MOST_DIGITS {
        return None;
    }
    // Without a way out in between: the numbers of a record are read with every request.
    let (sum, all) = digits.iter().fold((0_u64, true), |(sum, all), digit| {
        let value = u64::from(digit.wrapping_sub(b'0'));
        (sum * 10 + value, all & (value <= 9))
    });
    all.then_some(sum)
}

/// The netstring at `at`, and where the next one begins.
pub(super) fn push_netstring(out: &mut Vec<u8>, text: &[u8]) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    let mut rest = text.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
    out.push(b':');
    out.extend_from_slice(text);
}

pub(super) fn netstring(raw: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = raw.get(at..)?;
    let colon = rest.iter().take(11).position(|byte| *byte == b':')?;
    // A length has one spelling, as in `prelude.lua`.
    if colon == 0 || (colon > 1 && rest[0] == b'0') {
        return None;
    }
    let length = usize::try_from(number(&rest[..colon])?).ok()?;
    let from = at + colon + 1;
    let after = from.checked_add(length)?;
    Some((raw.get(from..after)?, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            rev: 7,
            created: 1_000,
            auth: 2_000,
            touched: 3_000,
            idle: 500,
            deadline: 9_000,
            persistent: true,
            check: *b"hash-of-",
            tenant: Bytes::new(),
            user: Bytes::from_static(b"alice"),
            sid: Bytes::from_static(b"sid"),
        }
    }

    #[test]
    fn both_timeouts_count() {
        let mut header = header();
        assert_eq!(header.expiry(), 3_500);
        header.touched = 8_900;
        assert_eq!(header.expiry(), 9_000);
        header.idle = 0;
        assert_eq!(header.expiry(), 9_000);
    }

    #[test]
    fn a_cutoff_ends_what_was_authenticated_at_or_before_it() {
        let mut header = header();
        assert!(!header.is_cut(None) && !header.is_cut(Some(1_999)));
        assert!(header.is_cut(Some(2_000)) && header.is_cut(Some(2_001)));
        header.auth = 0;
        assert!(!header.is_cut(Some(u64::MAX)));
    }

    #[test]
    fn a_record_of_another_id_or_version_is_refused() {
        let raw = Record::render(&header(), &[]);
        assert!(Record::of(raw.clone(), *b"hash-of-").is_ok());
        assert!(Record::of(raw.clone(), *b"another-").is_err());
        let mut newer = raw;
        newer[0] = b'2';
        assert!(Record::parse(newer).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in prop::collection::btree_map(".{0,9}", ".{0,40}", 0..8), user: String, now in 0_u64..1_000_000_000_000,
        ) {
            let header = Header { user: user.into(), ..header() };
            let fields: Fields =
                fields.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            let raw = Record::render(&header, &fields);
            let mut record = Record::parse(raw).expect("a whole record");
            prop_assert_eq!(&record.header, &header);
            prop_assert_eq!(record.all_fields(), Ok(fields));
            record.touch(now);
            let again = Record::parse(record.clone().into_raw()).expect("still whole");
            prop_assert_eq!(again.header.touched, now);
        }

        #[test]
        fn numbers_are_digits_and_nothing_else(any in prop::collection::vec(any::<u8>(), 0..18), text in "[-+ .:/;0-9]{0,17}") {
            for text in [&any[..], text.as_bytes(), &[255; 15], &[b'0' - 1; 15], &[b'9'; 15], &[b'9'; 16]] {
                let digits = text.iter().all(u8::is_ascii_digit) && text.len() <= MOST_DIGITS;
                let value = text.iter().fold(0, |sum, digit| sum * 10 + i128::from(*digit) - i128::from(b'0'));
                prop_assert_eq!(number(text).map(i128::from), digits.then_some(value));
            }
        }

        #[test]
        fn garbage_never_panics(mut raw: Vec<u8>, at in 0_usize..200, byte: u8) {
            if let Some(record) = Record::parse(raw.clone()) {
                let _ = record.all_fields();
            }
            raw = Record::render(&header(), &[(b"name".to_vec(), b"\"value\"".to_vec())]);
            let at = at % raw.len();
            raw[at] = byte;
            if let Some(record) = Record::parse(raw) {
                let _ = (record.fields().count(), record.all_fields(), record.field("name").map(<[u8]>::len));
            }
        }
    }
}
