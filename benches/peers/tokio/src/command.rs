//! A line into a command, on bytes.

/// What a valid line says. Its fields are still text: they are passed on as they came.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// A client tells where it is.
    Iamat { client: &'a [u8], location: &'a [u8], stamp: &'a [u8], nanos: u64 },
    /// A neighbour tells where a client is.
    At { client: &'a [u8], nanos: u64 },
    /// What is near a client?
    Whatsat { client: &'a [u8], radius: &'a [u8], bound: usize },
}

impl Command<'_> {
    /// `line`: without white space at its ends. `None`: it is to be answered with a question mark.
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

/// The specification's six; Rust's own set has no VT.
pub fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' | b'\x0b')
}

/// Without white space at its ends.
pub fn trimmed(line: &[u8]) -> &[u8] {
    let Some(start) = line.iter().position(|byte| !is_white(byte)) else { return &[] };
    let end = line.iter().rposition(|byte| !is_white(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// What stands between white space.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(is_white).filter(|field| !field.is_empty())
}

/// Latitude and longitude as they stand in `location`, signs included.
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

/// Whether `text`, a decimal number of any length, is not more than `most`: exactly.
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

/// The digits before the point and those behind it, if there is a point.
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

/// `digits`: at most 19 of them.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0'))
}
