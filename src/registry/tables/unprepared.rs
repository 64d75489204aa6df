//! Statements with their values in the text, for poolers that know no prepared statements.

use std::fmt::Write as _;

use super::driver::Arg;

/// The statement with each `$1` replaced by the value. Texts are written as the hexadecimal of their bytes: whatever is in
/// them, nothing of it is read as SQL.
pub(super) fn with_values(statement: &str, args: &[Arg<'_>]) -> String {
    let mut parts = statement.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|at: char| at.is_ascii_digit());
        let number = part[..part.len() - rest.len()].parse::<usize>();
        let arg = number.ok().and_then(|at| args.get(at.checked_sub(1)?));
        match arg {
            Some(Arg::Int(int)) => push(&mut text, format_args!("CAST({int} AS bigint)")),
            Some(Arg::Text(value)) => push_text(&mut text, value),
            // The server says what is wrong with it.
            None => push(
                &mut text,
                format_args!("${}", &part[..part.len() - rest.len()]),
            ),
        }
        text.push_str(rest);
    }
    text
}

fn push_text(text: &mut String, value: &str) {
    text.push_str("convert_from(decode('");
    for byte in value.bytes() {
        push(text, format_args!("{byte:02x}"));
    }
    text.push_str("', 'hex'), 'UTF8')");
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A text takes everything.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if: a value is read as SQL, or as the place of another.
    #[test]
    fn values_are_numbers_and_hexadecimals() {
        let args = [Arg::Text("'); $2 --"), Arg::Int(-7), Arg::Text("")];
        assert_eq!(
            with_values("SELECT $1, $2 FROM x WHERE y = $3 + $2", &args),
            "SELECT convert_from(decode('27293b202432202d2d', 'hex'), 'UTF8'), CAST(-7 AS bigint) FROM x \
             WHERE y = convert_from(decode('', 'hex'), 'UTF8') + CAST(-7 AS bigint)"
        );
        assert_eq!(with_values("SELECT 1", &args), "SELECT 1");
        assert_eq!(with_values("SELECT $0, $4, $", &args), "SELECT $0, $4, $");
    }

    /// Fails if: a statement says something else with a value of any kind in its place.
    #[test]
    fn no_byte_of_a_text_is_in_the_statement() {
        for code in 1..=255_u8 {
            let value = char::from(code).to_string();
            let text = with_values("$1", &[Arg::Text(&value)]);
            let hex = text.strip_prefix("convert_from(decode('").unwrap();
            let hex = hex.strip_suffix("', 'hex'), 'UTF8')").unwrap();
            assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
        }
    }
}
