//! Parses a line into a command, on bytes.

/// A valid command. Its fields are still text, because they are passed on unchanged.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// A client reports its location.
    Iamat { client: &'a [u8], location: &'a [u8], stamp: &'a [u8], nanos: u64 },
    /// A neighbour passes on a report.
    At { client: &'a [u8], nanos: u64 },
    /// A client asks for the places near a client.
    Whatsat { client: &'a [u8], radius: &'a [u8], bound: usize },
}

impl Command<'_> {
    /// Parses `line`, which has no white space at its ends. `None`: it is invalid, and is answered with a question mark.
    pub fn parse(line: &[u8]) -> Option<Command<'_>> {
        let mut fields = fields(line);
        let mut next = || fields.next();
        let command = match next()? {
            b"IAMAT" => {
                let (client, location, stamp) = (next()?, next()?, next()?);
                coordinates(location)?;
                Command::Iamat { client, location, stamp, nanos: nanoseconds(stamp)? }
            }
            b"AT" => {
                let (_server, difference, client) = (next()?, next()?, next()?);
                let (sign, digits) = difference.split_first()?;
                (b"+-".contains(sign) && is_decimal(digits)).then_some(())?;
                coordinates(next()?)?;
                Command::At { client, nanos: nanoseconds(next()?)? }
            }
            b"WHATSAT" => {
                let (client, radius, bound) = (next()?, next()?, next()?);
                let is_zero = radius.iter().all(|byte| matches!(byte, b'0' | b'.'));
                (is_at_most(radius, 50)? && !is_zero).then_some(())?;
                (!bound.contains(&b'.') && is_at_most(bound, 20)?).then_some(())?;
                let bound = str::from_utf8(bound).ok()?.parse().ok().filter(|&bound| bound > 0)?;
                Command::Whatsat { client, radius, bound }
            }
            _ => return None,
        };
        next().is_none().then_some(command)
    }
}

/// Whether `byte` is one of the specification's six white-space characters; Rust's own set lacks VT.
pub fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' | b'\x0b')
}

/// Returns `line` without white space at its ends.
pub fn trimmed(line: &[u8]) -> &[u8] {
    let Some(start) = line.iter().position(|byte| !is_white(byte)) else { return &[] };
    let end = line.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// The fields of `line`, which white space separates.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(is_white).filter(|field| !field.is_empty())
}

/// Splits `location` into latitude and longitude, with their signs.
pub fn coordinates(location: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_sign = |byte: &u8| matches!(byte, b'+' | b'-');
    let second = 1 + location.get(1..)?.iter().position(is_sign)?;
    let (latitude, longitude) = location.split_at(second);
    let valid = is_sign(&location[0])
        && is_at_most(&latitude[1..], 90)?
        && is_at_most(&longitude[1..], 180)?;
    valid.then_some((latitude, longitude))
}

/// Nanoseconds since 1970.
fn nanoseconds(stamp: &[u8]) -> Option<u64> {
    let (seconds, fraction) = split_decimal(stamp)?;
    (seconds.len() <= 10 && fraction.len() <= 9).then_some(())?;
    let nanos = number(fraction) * 10_u64.pow(9 - fraction.len() as u32);
    Some(number(seconds) * 1_000_000_000 + nanos)
}

/// Whether `text`, a decimal number of any length, is at most `most`, without rounding.
fn is_at_most(text: &[u8], most: u64) -> Option<bool> {
    let (whole, fraction) = split_decimal(text)?;
    let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &whole[zeros..];
    let whole = if digits.len() <= 10 { number(digits) } else { u64::MAX };
    Some(whole < most || whole == most && fraction.iter().all(|&digit| digit == b'0'))
}

fn is_decimal(text: &[u8]) -> bool {
    split_decimal(text).is_some()
}

/// The digits before the point and those after it, if there is a point.
fn split_decimal(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let are_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    match text.iter().position(|&byte| byte == b'.') {
        None => are_digits(text).then_some((text, &[])),
        Some(point) => {
            let (whole, fraction) = (&text[..point], &text[point + 1..]);
            (are_digits(whole) && are_digits(fraction)).then_some((whole, fraction))
        }
    }
}

/// The number with these `digits`, at most 19.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0'))
}
