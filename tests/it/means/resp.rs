//! Just enough of RESP2 and RESP3 to cut a byte stream into frames and a frame of the client into its arguments.

/// One command as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(pub Vec<Vec<u8>>);

/// Bytes that are not RESP; the proxy passes nothing on that it does not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage;

impl Command {
    /// The first word, in capitals: `GET`.
    pub fn name(&self) -> String {
        self.text(0).to_ascii_uppercase()
    }

    /// The argument at `index` as text (the name is at 0), empty if there is none.
    pub fn text(&self, index: usize) -> String {
        self.0
            .get(index)
            .map_or_else(String::new, |arg| String::from_utf8_lossy(arg).into_owned())
    }

    /// What the counts are kept by: the name, for `EVALSHA` and `FCALL` together with the script.
    pub fn label(&self) -> String {
        let name = self.name();
        match name.as_str() {
            "EVALSHA" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => format!("{name} {}", self.text(1)),
            _ => name,
        }
    }

    /// True if any argument contains `part`: a way to find a command by its key.
    pub fn mentions(&self, part: &str) -> bool {
        let part = part.as_bytes();
        self.0
            .iter()
            .any(|arg| arg.windows(part.len()).any(|window| window == part))
    }

    /// Part of setting up a connection or of keeping an eye on it: no turn of any request.
    pub fn is_housekeeping(&self) -> bool {
        let second = self.text(1).to_ascii_uppercase();
        match self.name().as_str() {
            "HELLO" | "AUTH" | "SELECT" | "PING" | "TIME" | "INFO" | "CONFIG" => true,
            "CLIENT" => matches!(second.as_str(), "SETINFO" | "SETNAME" | "TRACKING" | "ID"),
            "SCRIPT" => second == "LOAD",
            _ => false,
        }
    }

    /// Answered by pushes only, as far as RESP3 goes.
    pub fn is_subscription(&self) -> bool {
        self.name().ends_with("SUBSCRIBE")
    }
}

/// The length of the first whole frame in `bytes`, `None` while there is more to come.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, Garbage> {
    let mut at = 0;
    // How many values are still to be read: an aggregate adds its members, so nesting needs no stack.
    let mut open = 1_usize;
    while open > 0 {
        let Some(line) = line(&bytes[at..]) else {
            return Ok(None);
        };
        at += line.len() + 2;
        open -= 1;
        match line.first() {
            Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => {}
            Some(b'$' | b'!' | b'=') => at += blob(number(line)?),
            Some(b'*' | b'~' | b'>') => open += members(number(line)?),
            Some(b'%') => open += 2 * members(number(line)?),
            // An attribute stands before the value that it describes and is no value itself.
            Some(b'|') => open += 2 * members(number(line)?) + 1,
            _ => return Err(Garbage),
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// The arguments of a whole frame that holds an array of bulk strings.
pub fn command(frame: &[u8]) -> Result<Command, Garbage> {
    let head = line(frame).ok_or(Garbage)?;
    if head.first() != Some(&b'*') {
        return Err(Garbage);
    }
    let mut at = head.len() + 2;
    let mut args = Vec::new();
    for _ in 0..members(number(head)?) {
        let size = line(&frame[at..]).ok_or(Garbage)?;
        at += size.len() + 2;
        let length = members(number(size)?);
        args.push(frame.get(at..at + length).ok_or(Garbage)?.to_vec());
        at += length + 2;
    }
    Ok(Command(args))
}

/// True for what the server sends without being asked.
pub fn is_push(frame: &[u8]) -> bool {
    frame.first() == Some(&b'>')
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[..end])
}

fn number(line: &[u8]) -> Result<i64, Garbage> {
    let digits = std::str::from_utf8(&line[1..]).map_err(|_| Garbage)?;
    digits.parse().map_err(|_| Garbage)
}

/// The content and its line end; nothing follows a null (`-1`).
fn blob(length: i64) -> usize {
    usize::try_from(length).map_or(0, |length| length + 2)
}

fn members(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_a_frame_is_unfinished() {
        let frames: [&[u8]; 9] = [
            b"+OK\r\n",
            b"$5\r\na\r\nbc\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
            b"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n",
            b"|1\r\n+ttl\r\n:1\r\n$1\r\nx\r\n",
            b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n",
            b"~1\r\n#t\r\n",
        ];
        for whole in frames {
            for end in 0..whole.len() {
                assert_eq!(
                    frame(&whole[..end]),
                    Ok(None),
                    "{:?}",
                    String::from_utf8_lossy(&whole[..end])
                );
            }
            let followed = [whole, b"+next\r\n"].concat();
            assert_eq!(
                frame(&followed),
                Ok(Some(whole.len())),
                "{:?}",
                String::from_utf8_lossy(whole)
            );
        }
        assert_eq!(frame(b"GET / HTTP/1.1\r\n"), Err(Garbage));
    }

    #[test]
    fn a_command_is_read_with_its_label() {
        let read = command(b"*3\r\n$7\r\nevalsha\r\n$2\r\nab\r\n$1\r\n0\r\n").unwrap();
        assert_eq!(read.label(), "EVALSHA ab");
        assert!(read.mentions("ab") && !read.mentions("ba"));
        assert!(!read.is_housekeeping());
        assert!(Command(vec![b"client".into(), b"setinfo".into()]).is_housekeeping());
        assert!(!Command(vec![b"client".into(), b"kill".into()]).is_housekeeping());
    }
}
