//! The token out of a submitted form that is already in memory.
//!
//! Invariants: nothing here panics, and no more than one field is held at a time; a file's content is never taken
//! for a field; a body that does not follow its content type is an error and never "no token". How large a body may be
//! is for the one who buffers it to say; here at most [`MOST_FIELDS`] fields are looked at.

use std::{borrow::Cow, iter};

use memchr::memmem::Finder;

/// The token has to be among the first fields of a form; put it first.
const MOST_FIELDS: usize = 1000;
/// Headers of one part of a multipart body, in bytes.
const LONGEST_HEADERS: usize = 8 * 1024;

/// A body in which no field can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    /// Neither `application/x-www-form-urlencoded` nor `multipart/form-data`.
    NotAForm,
    /// Not what the content type says.
    Malformed,
    /// More fields than are looked at, and none of these was the one.
    TooManyFields,
}

/// The first value of the field, or `None` if the form has no such field.
pub(crate) fn field<'b>(
    content_type: &[u8],
    body: &'b [u8],
    name: &str,
) -> Result<Option<Cow<'b, [u8]>>, FormError> {
    let form = media_type(content_type).ok_or(FormError::NotAForm)?;
    if is_urlencoded(form) {
        urlencoded(body, name)
    } else if form.eq_ignore_ascii_case(b"multipart/form-data") {
        let boundary = parameter(content_type, "boundary").ok_or(FormError::Malformed)?;
        multipart(&boundary, body, name.as_bytes()).map(|value| value.map(Cow::Borrowed))
    } else {
        Err(FormError::NotAForm)
    }
}

/// The same in the beginning of a body whose rest is not there yet: what is found or wrong here stays so, whatever
/// follows, and `None` means that nothing is known yet.
pub(crate) fn field_in_beginning<'b>(
    content_type: &[u8],
    beginning: &'b [u8],
    name: &str,
) -> Option<Result<Cow<'b, [u8]>, FormError>> {
    let whole = match media_type(content_type) {
        // The last field may go on.
        Some(form) if is_urlencoded(form) => {
            &beginning[..memchr::memrchr(b'&', beginning).unwrap_or(0)]
        }
        _ => beginning,
    };
    match field(content_type, whole, name) {
        Ok(Some(value)) => Some(Ok(value)),
        Ok(None) | Err(FormError::Malformed) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Whether a field can be looked for in a body of this type.
pub(crate) fn is_form(content_type: &[u8]) -> bool {
    media_type(content_type).is_some_and(|form| {
        is_urlencoded(form) || form.eq_ignore_ascii_case(b"multipart/form-data")
    })
}

fn is_urlencoded(media_type: &[u8]) -> bool {
    media_type.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// `type/subtype` of a `Content-Type`, without parameters; `None` if it is not one.
pub(crate) fn media_type(content_type: &[u8]) -> Option<&[u8]> {
    let media_type = content_type
        .split(|byte| *byte == b';')
        .next()?
        .trim_ascii();
    let is_token = |part: &[u8]| {
        let special = |byte: &u8| b"!#$%&'*+-.^_`|~".contains(byte);
        !part.is_empty()
            && part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    let slash = media_type.iter().position(|byte| *byte == b'/')?;
    (is_token(&media_type[..slash]) && is_token(&media_type[slash + 1..])).then_some(media_type)
}

fn urlencoded<'b>(body: &'b [u8], name: &str) -> Result<Option<Cow<'b, [u8]>>, FormError> {
    for (at, (key, value)) in form_urlencoded::parse(body).enumerate() {
        if at == MOST_FIELDS {
            return Err(FormError::TooManyFields);
        }
        if key == name {
            return Ok(Some(match value {
                Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
                Cow::Owned(value) => Cow::Owned(value.into_bytes()),
            }));
        }
    }
    Ok(None)
}

/// RFC 7578 over RFC 2046 §5.1.1.
fn multipart<'b>(
    boundary: &[u8],
    body: &'b [u8],
    name: &[u8],
) -> Result<Option<&'b [u8]>, FormError> {
    if boundary.is_empty() || boundary.len() > 70 {
        return Err(FormError::Malformed);
    }
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = Finder::new(&delimiter);
    // The first delimiter may open the body, without the line break that belongs to the others.
    let mut rest = match body.strip_prefix(&delimiter[2..]).and_then(after_delimiter) {
        Some(next) => next,
        None => next_part(&finder, body)?.1,
    };
    for _ in 0..MOST_FIELDS {
        let Next::Part(part) = rest else {
            return Ok(None);
        };
        let (headers, content) = split_headers(part)?;
        let (content, next) = next_part(&finder, content)?;
        if is_field(headers, name) {
            return Ok(Some(content));
        }
        rest = next;
    }
    if matches!(rest, Next::End) {
        Ok(None)
    } else {
        Err(FormError::TooManyFields)
    }
}

/// What follows a delimiter.
#[derive(Clone, Copy)]
enum Next<'b> {
    Part(&'b [u8]),
    End,
}

/// Reads the rest of a delimiter's line; `None` if it only begins like a delimiter.
fn after_delimiter(rest: &[u8]) -> Option<Next<'_>> {
    if rest.starts_with(b"--") {
        return Some(Next::End);
    }
    let padding = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    rest[padding..].strip_prefix(b"\r\n").map(Next::Part)
}

/// What stands before the next delimiter, and what follows that.
fn next_part<'b>(finder: &Finder<'_>, bytes: &'b [u8]) -> Result<(&'b [u8], Next<'b>), FormError> {
    let length = finder.needle().len();
    finder
        .find_iter(bytes)
        .find_map(|at| Some((&bytes[..at], after_delimiter(&bytes[at + length..])?)))
        .ok_or(FormError::Malformed)
}

/// The headers of a part, and the rest.
fn split_headers(part: &[u8]) -> Result<(&[u8], &[u8]), FormError> {
    if let Some(content) = part.strip_prefix(b"\r\n") {
        return Ok((&[], content));
    }
    let seen = &part[..part.len().min(LONGEST_HEADERS)];
    let end = memchr::memmem::find(seen, b"\r\n\r\n").ok_or(FormError::Malformed)?;
    Ok((&part[..end], &part[end + 4..]))
}

/// Whether a part's headers say that it is the form's field of this name, and no file.
fn is_field(headers: &[u8], name: &[u8]) -> bool {
    let mut lines = headers.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let disposition = lines.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon]
            .eq_ignore_ascii_case(b"content-disposition")
            .then(|| line[colon + 1..].trim_ascii())
    });
    disposition.is_some_and(|disposition| {
        let kind = disposition
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"form-data")
            && parameter(disposition, "name").is_some_and(|found| *found == *name)
            && parameter(disposition, "filename").is_none()
            && parameter(disposition, "filename*").is_none()
    })
}

/// A parameter of a header value such as `form-data; name="token"`, the first of its name.
fn parameter<'v>(value: &'v [u8], name: &str) -> Option<Cow<'v, [u8]>> {
    pieces(value).skip(1).find_map(|piece| {
        let equals = piece.iter().position(|byte| *byte == b'=')?;
        let ours = piece[..equals]
            .trim_ascii()
            .eq_ignore_ascii_case(name.as_bytes());
        ours.then(|| unquoted(piece[equals + 1..].trim_ascii()))
    })
}

/// The pieces between semicolons that stand outside of quotes.
fn pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    iter::from_fn(move || {
        let value = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = value.iter().position(|byte| {
            let plain = !std::mem::take(&mut escaped);
            match byte {
                b'"' if plain => quoted = !quoted,
                b'\\' if plain && quoted => escaped = true,
                _ => {}
            }
            *byte == b';' && !quoted
        });
        rest = end.map(|end| &value[end + 1..]);
        Some(&value[..end.unwrap_or(value.len())])
    })
}

/// A quoted string's content; anything else as it is.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
    else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut bytes = inner.iter();
    let unescaped = iter::from_fn(|| match bytes.next()? {
        b'\\' => bytes.next(),
        byte => Some(byte),
    });
    Cow::Owned(unescaped.copied().collect())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    const MULTI: &[u8] = b"multipart/form-data; boundary=XX";

    fn token(content_type: &[u8], body: &[u8]) -> Result<Option<String>, FormError> {
        let text = |value: Cow<'_, [u8]>| String::from_utf8_lossy(&value).into_owned();
        field(content_type, body, "token").map(|value| value.map(text))
    }

    fn some(value: &str) -> Result<Option<String>, FormError> {
        Ok(Some(value.to_owned()))
    }

    /// Parts written with `\n` for readability.
    fn multi(body: &str) -> Result<Option<String>, FormError> {
        token(MULTI, body.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn urlencoded_forms() {
        assert_eq!(token(FORM, b"a=1&token=v-_1&b=2"), some("v-_1"));
        assert_eq!(
            token(
                b"Application/X-WWW-Form-Urlencoded; charset=UTF-8",
                b"token=v"
            ),
            some("v")
        );
        assert_eq!(token(FORM, b"t%6Fken=%76+w"), some("v w"));
        assert_eq!(token(FORM, b"token=first&token=second"), some("first"));
        assert_eq!(token(FORM, b"token"), some(""));
        for without in [
            b"" as &[u8],
            b"a=token",
            b"Token=v",
            b"xtoken=v",
            b"tokens=v",
            b"&&=&",
            b"\xff\xfe%zz%",
        ] {
            assert_eq!(token(FORM, without), Ok(None), "{without:?}");
        }
    }

    #[test]
    fn fields_are_looked_at_up_to_a_bound() {
        let form =
            |before: usize| token(FORM, format!("{}token=v", "a=1&".repeat(before)).as_bytes());
        assert_eq!(form(MOST_FIELDS - 1), some("v"));
        assert_eq!(form(MOST_FIELDS), Err(FormError::TooManyFields));
        let part = "--XX\nContent-Disposition: form-data; name=\"a\"\n\n1\n";
        let last = "--XX\nContent-Disposition: form-data; name=\"token\"\n\nv\n--XX--";
        assert_eq!(
            multi(&format!("{}{last}", part.repeat(MOST_FIELDS - 1))),
            some("v")
        );
        assert_eq!(
            multi(&format!("{}{last}", part.repeat(MOST_FIELDS))),
            Err(FormError::TooManyFields)
        );
        assert_eq!(
            multi(&format!("{}--XX--", part.repeat(MOST_FIELDS))),
            Ok(None)
        );
    }

    #[test]
    fn multipart_forms() {
        let a_field =
            "--XX\nContent-Disposition: form-data; name=\"a\"\n\nsome text\nof two lines --XX\n";
        let ours = "--XX\nContent-Disposition: form-data; name=\"token\"\n\nv-_1\n";
        assert_eq!(multi(&format!("{ours}--XX--\n")), some("v-_1"));
        assert_eq!(multi(&format!("{a_field}{ours}--XX--")), some("v-_1"));
        assert_eq!(
            multi(&format!("preamble\n{a_field}{ours}--XX--\nepilogue")),
            some("v-_1")
        );
        assert_eq!(
            multi(&format!("{a_field}--XX--\n{ours}--XX--")),
            Ok(None),
            "after the end"
        );
        assert_eq!(multi("--XX--"), Ok(None));
        assert_eq!(
            multi("--XX  \t\ncontent-DISPOSITION:form-data;NAME=token\nX: y\n\nv\n--XX--"),
            some("v")
        );
        assert_eq!(
            multi("--XX\nContent-Disposition: form-data; name=\"token\"\n\n\n--XX--"),
            some("")
        );
        // What only begins like the delimiter is content.
        assert_eq!(
            multi("--XX\nContent-Disposition: form-data; name=token\n\na\n--XXY\nb\n--XX--"),
            some("a\r\n--XXY\r\nb")
        );
    }

    #[test]
    fn neither_files_nor_names_in_quotes_are_the_field() {
        for disposition in [
            "form-data; name=\"token\"; filename=\"x\"",
            "form-data; filename=\"x\"; name=\"token\"",
            "form-data; name=\"token\"; filename*=UTF-8''x",
            "form-data; name=\"a\"; x=\"; name=\\\"token\\\"\"",
            "form-data; x=\"; name=token\"",
            "form-data; x=\"; name=token; y=\"",
            "form-data; x=\"\\\"; name=token; y=\"",
            "form-data; name=\"token ",
            "form-data; name=\"a\"; name=\"token\"",
            "attachment; name=\"token\"",
            "name=\"token\"",
            "",
        ] {
            let body = format!("--XX\nContent-Disposition: {disposition}\n\nv\n--XX--");
            assert_eq!(multi(&body), Ok(None), "{disposition}");
        }
        let content = "--XX\nContent-Disposition: form-data; name=\"a\"\n\nContent-Disposition: form-data; name=\"token\"\n\nv\n--XX--";
        assert_eq!(multi(content), Ok(None));
        assert_eq!(
            multi("--XX\n\nContent-Disposition: form-data; name=token\n\nv\n--XX--"),
            Ok(None),
            "no headers"
        );
    }

    #[test]
    fn what_is_cut_or_broken_is_an_error() {
        let whole = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--XX--";
        assert_eq!(token(MULTI, whole.as_bytes()), Ok(None));
        for end in 0..whole.len() {
            assert_eq!(
                token(MULTI, &whole.as_bytes()[..end]),
                Err(FormError::Malformed),
                "{end}"
            );
        }
        assert_eq!(
            multi(&format!(
                "--XX\nX: {}\n\nv\n--XX--",
                "x".repeat(LONGEST_HEADERS)
            )),
            Err(FormError::Malformed)
        );
        for content_type in [
            b"multipart/form-data" as &[u8],
            b"multipart/form-data; boundary=",
            b"multipart/form-data; boundary=\"\"",
            b"multipart/form-data; x=\"; boundary=XX; y=\"",
            b"multipart/form-data; boundary=XY",
        ] {
            assert_eq!(
                token(content_type, whole.as_bytes()),
                Err(FormError::Malformed),
                "{content_type:?}"
            );
        }
        for (length, expected) in [(70, Ok(None)), (71, Err(FormError::Malformed))] {
            let boundary = "b".repeat(length);
            let content_type = format!("multipart/form-data; boundary={boundary}");
            let body = format!("--{boundary}--");
            assert_eq!(
                token(content_type.as_bytes(), body.as_bytes()),
                expected,
                "RFC 2046"
            );
        }
        let quoted = b"Multipart/Form-Data ; charset=\"a;b\" ; Boundary=\"X\\X\"";
        assert_eq!(token(quoted, whole.as_bytes()), Ok(None));
    }

    #[test]
    fn only_forms_are_forms() {
        for content_type in [
            b"" as &[u8],
            b"application/json",
            b"text/plain",
            b"multipart/mixed; boundary=XX",
            b"/",
            b"a/b/c",
            b"application /x-www-form-urlencoded",
        ] {
            assert_eq!(
                token(content_type, b"token=v"),
                Err(FormError::NotAForm),
                "{content_type:?}"
            );
        }
        assert_eq!(
            media_type(b" Text/Plain ;x=y"),
            Some(b"Text/Plain" as &[u8])
        );
        for broken in [
            b"text" as &[u8],
            b"text/",
            b"/plain",
            b"text/plain, text/html",
            b"te xt/plain",
            b";text/plain",
        ] {
            assert_eq!(media_type(broken), None, "{broken:?}");
        }
    }

    /// What is found in a beginning is what is found in the whole, at every cut.
    fn cuts(content_type: &[u8], body: &[u8]) -> Option<usize> {
        let whole = field(content_type, body, "token");
        (0..=body.len()).find_map(|end| {
            let early = field_in_beginning(content_type, &body[..end], "token")?;
            assert_eq!(Some(early), whole.clone().transpose(), "at {end}");
            Some(end)
        })
    }

    #[test]
    fn a_beginning_tells_what_the_whole_would() {
        assert_eq!(cuts(FORM, b"token=value&b=2"), Some(12));
        assert_eq!(cuts(FORM, b"a=1&token=%76+w&b=2"), Some(16));
        assert_eq!(cuts(FORM, b"a=1&token=v"), None, "the value may go on");
        let multi =
            b"--XX\r\nContent-Disposition: form-data; name=token\r\n\r\nv\r\n--XX\r\n\r\nfile";
        assert_eq!(cuts(MULTI, multi), Some(multi.len() - 6));
        let many = "a=1&".repeat(MOST_FIELDS + 1);
        assert_eq!(
            field_in_beginning(FORM, many.as_bytes(), "token"),
            Some(Err(FormError::TooManyFields))
        );
    }

    const PIECES: &[&[u8]] = &[
        b"--XX",
        b"\r\n",
        b"--",
        b"\r\n\r\n",
        b"token",
        b"=&%",
        b"\"",
        b";",
        b"\\",
        b"\xff\0",
        b" ",
        b"Content-Disposition: form-data; name=",
    ];

    proptest! {
        #[test]
        fn no_bytes_break_the_finder(
            pieces in vec(proptest::sample::select(PIECES), 0..30),
            content_type: Vec<u8>,
        ) {
            let body = pieces.concat();
            let _ = field(FORM, &body, "token");
            let _ = field(MULTI, &body, "token");
            let _ = field(&content_type, &body, "token");
            let _ = field(&[b"multipart/form-data;", &body[..]].concat(), &body, "token");
        }

        #[test]
        fn a_written_form_is_read(
            fields in vec(("[a-z]{1,6}|token", vec(any::<u8>(), 0..40)), 0..8),
        ) {
            let mut body = Vec::new();
            for (name, value) in &fields {
                let head = format!("--a b?\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
                body.extend([head.as_bytes(), value, b"\r\n"].concat());
            }
            body.extend(b"--a b?--\r\n");
            let expected = fields.iter().find(|(name, _)| name == "token").map(|(_, value)| Cow::Borrowed(&value[..]));
            prop_assert_eq!(field(b"multipart/form-data; boundary=\"a b?\"", &body, "token"), Ok(expected));

            let mut text = form_urlencoded::Serializer::new(String::new());
            let lossy = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            fields.iter().for_each(|(name, value)| { text.append_pair(name, &lossy(value)); });
            let expected = fields.iter().find(|(name, _)| name == "token").map(|(_, value)| lossy(value));
            prop_assert_eq!(token(FORM, text.finish().as_bytes()), Ok(expected));
        }
    }
}
